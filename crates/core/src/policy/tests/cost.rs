//! What a decision costs. Prints, asserts nothing about time; run with
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test -p ostiary-core cost -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::kit::{facts, house, rule, rules};
use crate::policy::{Memory, Verdict};

const CALLS: u32 = 20_000;

/// CPU time of this thread, as Linux counts it: other load on the machine does not enter.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn measure(name: &str, mut run: impl FnMut(u32)) {
    (0..CALLS / 10).for_each(&mut run);
    let start = cpu_ns();
    (0..CALLS).for_each(&mut run);
    let spent = (cpu_ns() - start) / u64::from(CALLS);
    println!("{name:<55}{:>6}.{:02} µs", spent / 1_000, spent % 1_000 / 10);
}

#[test]
#[ignore = "prints times"]
fn cost_of_decisions() {
    let dev = ("groups", "has", "\"dev\"");
    let mut list = vec![
        rule("r0", "allow", "and", &[dev, ("action", "in", "[\"read\",\"query\"]"), ("server", "is", "\"notes\"")]),
        rule("r1", "deny", "or", &[("argument/path", "starts_with", "\"/etc\"")]),
        rule("r2", "allow", "and", &[("email", "ends_with", "\"@example.com\""), ("tool", "is", "\"notes/write\"")]),
        rule("r3", "allow", "and", &[dev, ("argument/n", "lt", "100"), ("tool", "starts_with", "\"notes/\"")]),
        rule("r4", "deny", "and", &[("argument/sql", "matches", "\"(?i)\\\\bdrop\\\\b\"")]),
        rule(
            "r5",
            "allow",
            "and",
            &[("user", "is", "\"human:corp:alice\""), ("source_ip", "cidr", "[\"10.0.0.0/8\"]")],
        ),
    ];
    let small = house(&rules(&list));
    let call = |n: u32| {
        format!(
            r#"{{"principal":{{"type":"human","id":"human:corp:alice","email":"a@example.com","groups":["ops","dev","all"]}},
            "agent":{{"id":"bot"}},"server":"notes","tool":"echo","arguments":{{"path":"/srv/data","n":{n},"text":"unread"}},
            "request":{{"ip":"10.0.0.1"}},"token":{{"scope":"mcp:read mcp:query"}},"time":"2026-11-22T10:00:00Z"}}"#
        )
    };
    let one = facts(&small, &call(1));
    assert!(matches!(small.decide(&one, Memory::On).verdict, Verdict::Allow(_)));
    println!();
    measure("6 rules, remembered", |_| drop(black_box(small.decide(&one, Memory::On))));
    measure("6 rules, Cedar", |_| drop(black_box(small.decide(&one, Memory::Off))));
    let different: Vec<_> = (0..CALLS).map(|n| facts(&small, &call(n))).collect();
    measure("6 rules, arguments all different, remembering", |n| {
        drop(black_box(small.decide(&different[n as usize], Memory::On)));
    });
    let view = small.view(&one);
    let slice = small.policy.slices.slice(&small.policy.rules, &small.servers, "notes", "echo");
    measure("  the projection alone", |_| {
        drop(black_box(crate::policy::projection::project(&view, &slice.reads, false)));
    });
    measure("  the walk alone", |_| drop(black_box(crate::policy::decide::walked(&slice, &view))));
    measure("  Cedar alone", |_| {
        drop(black_box(slice.lowered().unwrap().ask(&view, &small.policy.subjects, Memory::Off)));
    });
    let lister = small.lister(&one);
    measure("6 rules, one tool of a list", |_| {
        black_box(lister.could("echo"));
    });

    for n in 0..10_000 {
        let tool = format!("\"other{}/t{n}\"", n % 100);
        list.push(rule(&format!("x{n}"), "allow", "and", &[dev, ("tool", "is", &tool), ("argument/a", "is", "1")]));
    }
    let text = rules(&list);
    let start = Instant::now();
    let large = house(&text);
    println!("{:<55}{:>9.2} ms", "10,000 rules, load", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    black_box(large.decide(&one, Memory::Off));
    println!("{:<55}{:>9.2} ms", "10,000 rules, first call of a tool", start.elapsed().as_secs_f64() * 1e3);
    measure("10,000 rules, remembered", |_| drop(black_box(large.decide(&one, Memory::On))));
    measure("10,000 rules, Cedar", |_| drop(black_box(large.decide(&one, Memory::Off))));
}
