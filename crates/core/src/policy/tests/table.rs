//! The table of doubt, which stands as data in `tests/golden`.

use super::kit::{answer, facts, json, names, partial, text};
use crate::facts::Facts;
use crate::json::Value;
use crate::policy::Memory;

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/table_of_doubt.json");
    json(&std::fs::read_to_string(path).unwrap()).as_array().unwrap().to_vec()
}

#[test]
fn every_case_of_the_table_of_doubt_holds() {
    for case in cases() {
        let why = case.get("why").unwrap().as_str().unwrap();
        let snapshot = partial(&text(case.get("rules").unwrap()));
        let facts = facts(&snapshot, &text(case.get("facts").unwrap()));
        let answer = answer(&snapshot, &facts);
        let expect = case.get("expect").unwrap();
        assert_eq!(answer.get("decision"), expect.get("decision"), "{why}");
        assert_eq!(answer.get("reason"), expect.get("reason"), "{why}");
        let expected: Vec<&str> =
            expect.get("rules").unwrap().as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
        assert_eq!(names(answer.get("rules").unwrap()), expected, "{why}");
    }
}

#[test]
fn the_projection_alone_gives_every_decision_of_the_table_again() {
    for case in cases() {
        let snapshot = partial(&text(case.get("rules").unwrap()));
        let facts = facts(&snapshot, &text(case.get("facts").unwrap()));
        let decision = snapshot.decide(&facts, Memory::Off);
        let projection = json(std::str::from_utf8(&decision.facts_json).unwrap());
        let again = Facts::from_json(&projection, Some(&snapshot)).unwrap();
        let repeated = snapshot.decide(&again, Memory::Off);
        assert_eq!(repeated.finding, decision.finding, "{}", text(&case));
        assert_eq!(repeated.facts_json, decision.facts_json, "{}", text(&case));
    }
}
