use super::list::{filter, filter_capabilities};
use super::message::{Incoming, Request, read, upstream_body, upstream_headers};
use super::response::{ErrorObject, Response, read_failure, read_response, write_response};
use super::stream::{Kind, Message, Stream, refuse_ask};
use super::*;
use crate::head::Head;
use crate::json::{self, Limits, Object, Value};

fn head(fields: &[(&str, &str)]) -> Head {
    let always = [("host", "h"), ("content-type", "application/json")];
    let fields = always.iter().chain(fields).map(|(name, value)| (*name, value.as_bytes()));
    Head::read("POST", "/mcp/notes", fields).unwrap()
}

fn request(body: &str, fields: &[(&str, &str)]) -> Request {
    match read(body.as_bytes(), &head(fields), &Limits::DEFAULT) {
        Ok(Incoming::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn object(text: &str) -> Object {
    json::parse(text.as_bytes(), &Limits::DEFAULT).unwrap().as_object().unwrap().clone()
}

fn written(object: &Object) -> String {
    let mut out = Vec::new();
    json::write_object(object, &mut out);
    String::from_utf8(out).unwrap()
}

const STATELESS: &str = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"read_file","arguments":{"path":"/tmp/x","n":1.0,"deep":{"flag":true}},"extra":[1e2],"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.ostiary/x":1,"com.example/y":2}}}"#;

#[test]
fn a_stateless_call_is_read_and_written_anew() {
    let fields = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "read_file"),
        ("mcp-param-path", "=?base64?L3RtcC94?="),
        ("mcp-param-n", "1"),
        ("mcp-param-flag", "true"),
    ];
    let request = request(STATELESS, &fields);
    assert_eq!(
        (request.kind, request.era, request.version.as_str()),
        (Method::ToolsCall, Era::Stateless, "2026-07-28")
    );
    assert_eq!(request.tool(), Some("read_file"));
    assert_eq!(request.arguments().map(Object::len), Some(3));
    assert_eq!(
        text(&upstream_body(&request, "01-x")),
        STATELESS.replace(r#""id":"a""#, r#""id":"01-x""#).replace(r#""io.ostiary/x":1,"#, "")
    );
    let headers = upstream_headers(&request, &head(&fields));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "read_file"),
            ("mcp-param-path", "/tmp/x"),
            ("mcp-param-n", "1"),
            ("mcp-param-flag", "true"),
        ]
    );
}

#[test]
fn a_session_call_takes_no_stateless_headers_along() {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}"#;
    let fields = [("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/call"), ("mcp-name", "echo")];
    let call = request(body, &fields);
    assert_eq!((call.era, &call.id, call.arguments()), (Era::Session, &Id::Int(7), None));
    assert_eq!(upstream_headers(&call, &head(&fields)), [("mcp-protocol-version".to_owned(), "2025-11-25".to_owned())]);
    assert_eq!(upstream_headers(&request(body, &[]), &head(&[])), []);
    assert_eq!(request(body, &[]).version, "2025-03-26");
}

#[test]
fn a_refusal_echoes_an_id_that_was_read_safely() {
    let id = |body: &str| read(body.as_bytes(), &head(&[]), &Limits::DEFAULT).unwrap_err().id;
    assert_eq!(id(r#"{"jsonrpc":"2.0","id":"x","method":"nope"}"#), Some(Id::Text("x".to_owned())));
    assert_eq!(id(r#"{"jsonrpc":"1.0","id":5,"method":"ping"}"#), Some(Id::Int(5)));
    assert_eq!(id(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#), None);
    assert_eq!(id(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), None);
}

#[test]
fn only_a_response_to_our_request_is_read() {
    let read = |body: &str| read_response(body.as_bytes(), "ours", Era::Stateless);
    let answer = read(r#"{"jsonrpc":"2.0","id":"ours","result":{"n":1.50},"other":1}"#).unwrap();
    assert_eq!(text(&write_response(&answer, &Id::Int(3))), r#"{"jsonrpc":"2.0","id":3,"result":{"n":1.50}}"#);
    let error = read(r#"{"jsonrpc":"2.0","id":"ours","error":{"code":-1.0,"message":"m\n","data":[1]}}"#).unwrap();
    assert_eq!(
        error.result,
        Err(ErrorObject { code: -1, message: "m\n".to_owned(), data: Some(Value::Array(vec![1.into()])) })
    );
    assert_eq!(
        text(&write_response(&error, &Id::Text("\"".to_owned()))),
        r#"{"jsonrpc":"2.0","id":"\"","error":{"code":-1,"message":"m\n","data":[1]}}"#
    );
    assert!(read(r#"{"jsonrpc":"2.0","id":"ours","result":{"resultType":"complete"}}"#).is_ok());
    for (body, fault) in [
        (r#"{"jsonrpc":"2.0","id":"theirs","result":{}}"#, UpstreamFault::WrongId),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, UpstreamFault::WrongId),
        (r#"{"jsonrpc":"2.0","result":{}}"#, UpstreamFault::WrongId),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#, UpstreamFault::WrongId),
        (r#"{"jsonrpc":"2.0","id":"ours","result":{},"error":{"code":1,"message":"x"}}"#, UpstreamFault::NotResponse),
        (r#"{"jsonrpc":"2.0","id":"ours"}"#, UpstreamFault::NotResponse),
        (r#"{"jsonrpc":"2.0","id":"ours","method":"ping","result":{}}"#, UpstreamFault::NotResponse),
        (r#"{"id":"ours","result":{}}"#, UpstreamFault::NotResponse),
        (r#"[{"jsonrpc":"2.0","id":"ours","result":{}}]"#, UpstreamFault::NotResponse),
        (r#"{"jsonrpc":"2.0","id":"ours","result":[]}"#, UpstreamFault::ResultShape),
        (r#"{"jsonrpc":"2.0","id":"ours","error":{"code":"1","message":"x"}}"#, UpstreamFault::ErrorShape),
        (r#"{"jsonrpc":"2.0","id":"ours","error":"x"}"#, UpstreamFault::ErrorShape),
        (
            r#"{"jsonrpc":"2.0","id":"ours","result":{"resultType":"task"}}"#,
            UpstreamFault::ResultType("task".to_owned()),
        ),
        (r#"{"jsonrpc":"2.0","id":"ours","result":{"resultType":1}}"#, UpstreamFault::ResultShape),
    ] {
        assert_eq!(read(body), Err(fault), "{body}");
    }
    assert!(matches!(read(r#"{"jsonrpc":"2.0","id":"ours","result":{"a":1,"a":2}}"#), Err(UpstreamFault::Json(_))));
    let session = read_response(br#"{"jsonrpc":"2.0","id":"ours","result":{"resultType":"x"}}"#, "ours", Era::Session);
    assert!(session.is_ok());
}

#[test]
fn a_failure_may_name_no_request() {
    for body in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":"ours","error":{"code":-32600,"message":"x"}}"#,
    ] {
        assert!(read_failure(body.as_bytes(), "ours", Era::Session).is_ok(), "{body}");
    }
    for body in [
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"ours","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"theirs","error":{"code":-32600,"message":"x"}}"#,
        "Bad Gateway",
    ] {
        assert!(read_failure(body.as_bytes(), "ours", Era::Session).is_err(), "{body}");
    }
}

#[test]
fn a_stream_carries_known_notices_and_one_answer() {
    let mut stream = Stream::new(Some("ours"), Era::Session, Kind::Answer);
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1e0},"x":1}"#;
    let Ok(Message::Notice(passed)) = stream.judge(notice) else { panic!("not passed on") };
    assert_eq!(
        text(&passed.write()),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1e0}}"#
    );
    let dropped = |method: &str| Ok(Message::Dropped { method: method.to_owned() });
    let bare = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
    for unknown in
        ["notifications/tasks/status", "notifications/Progress", "notifications/subscriptions/acknowledged", "x"]
    {
        assert_eq!(stream.judge(&bare(unknown)), dropped(unknown));
    }
    let ask = r#"{"jsonrpc":"2.0","id":4,"method":"sampling/createMessage","params":{}}"#;
    let asked =
        Message::Ask { id: Id::Int(4), method: "sampling/createMessage".to_owned(), params: Some(Object::new()) };
    assert_eq!(stream.judge(ask), Ok(asked));
    let mut stateless = Stream::new(Some("ours"), Era::Stateless, Kind::Answer);
    assert_eq!(stateless.judge(ask), Err(UpstreamFault::Request));
    assert!(object(text(&refuse_ask(&Id::Int(4), 4030, "no"))).get("error").is_some());
    for (bad, fault) in [
        (r#"{"jsonrpc":"2.0","id":"theirs","result":{}}"#, UpstreamFault::WrongId),
        (r#"{"jsonrpc":"2.0","method":"notifications/progress","result":{}}"#, UpstreamFault::NotResponse),
        (r#"{"jsonrpc":"2.0","method":"notifications/progress","params":[]}"#, UpstreamFault::NotResponse),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, UpstreamFault::NotResponse),
        (r#"{"method":"notifications/progress"}"#, UpstreamFault::NotResponse),
        ("[]", UpstreamFault::NotResponse),
    ] {
        assert_eq!(stream.judge(bad), Err(fault), "{bad}");
    }
    let answer = r#"{"jsonrpc":"2.0","id":"ours","result":{}}"#;
    assert_eq!(stream.judge(answer), Ok(Message::Answer(Response { result: Ok(Object::new()), asks: false })));
    assert_eq!(stream.judge(answer), Err(UpstreamFault::AfterAnswer));
    assert_eq!(stream.judge(notice), Err(UpstreamFault::AfterAnswer));
}

#[test]
fn a_stream_of_a_subscription_carries_its_own_events_alone() {
    let mut stream = Stream::new(Some("ours"), Era::Stateless, Kind::Listen);
    let event = |method: &str, params: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
    let tagged = r#"{"uri":"x:y","_meta":{"io.modelcontextprotocol/subscriptionId":"ours"}}"#;
    let Ok(Message::Notice(mut updated)) = stream.judge(&event("notifications/resources/updated", tagged)) else {
        panic!("not passed on")
    };
    assert_eq!((updated.uri(), updated.subscription()), (Some("x:y"), Some("ours")));
    updated.set_subscription(&Id::Int(7));
    assert_eq!(
        text(&updated.write()),
        event(
            "notifications/resources/updated",
            r#"{"uri":"x:y","_meta":{"io.modelcontextprotocol/subscriptionId":7}}"#
        )
    );
    let Ok(Message::Notice(mut end)) = stream.judge(&event("notifications/cancelled", r#"{"requestId":"ours"}"#))
    else {
        panic!("not passed on")
    };
    end.set_about(&Id::Int(7));
    assert_eq!(text(&end.write()), event("notifications/cancelled", r#"{"requestId":7}"#));
    for (method, params) in [
        (
            "notifications/resources/updated",
            r#"{"uri":"x:y","_meta":{"io.modelcontextprotocol/subscriptionId":"theirs"}}"#,
        ),
        ("notifications/resources/updated", r#"{"uri":"x:y"}"#),
        ("notifications/cancelled", r#"{"requestId":"theirs"}"#),
        ("notifications/message", tagged),
        ("notifications/progress", tagged),
    ] {
        assert_eq!(
            stream.judge(&event(method, params)),
            Ok(Message::Dropped { method: method.to_owned() }),
            "{params}"
        );
    }
    let mut answer = Stream::new(Some("ours"), Era::Stateless, Kind::Answer);
    let changed = event("notifications/tools/list_changed", tagged);
    assert!(matches!(answer.judge(&changed), Ok(Message::Dropped { .. })));
    let mut session = Stream::new(None, Era::Session, Kind::Session);
    assert!(matches!(session.judge(&changed), Ok(Message::Notice(_))));
    assert_eq!(session.judge(r#"{"jsonrpc":"2.0","id":"ours","result":{}}"#), Err(UpstreamFault::WrongId));
}

#[test]
fn what_a_server_asks_is_read_from_its_result() {
    let asks = |text: &str| round::requested(&object(text)).map(|asks| asks.len());
    assert_eq!(asks(r#"{"requestState":"s"}"#), Ok(0));
    assert_eq!(
        asks(r#"{"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{}}}}"#),
        Ok(2)
    );
    for (bad, fault) in [
        (r#"{"inputRequests":[]}"#, UpstreamFault::ResultShape),
        (r#"{"inputRequests":{"a":1}}"#, UpstreamFault::ResultShape),
        (r#"{"inputRequests":{"a":{"method":"roots/list","params":[]}}}"#, UpstreamFault::ResultShape),
        (r#"{"inputRequests":{"a":{"method":"tools/call"}}}"#, UpstreamFault::Request),
        (r#"{"requestState":1}"#, UpstreamFault::ResultShape),
    ] {
        assert_eq!(asks(bad), Err(fault), "{bad}");
    }
}

#[test]
fn every_method_says_what_it_is_about() {
    let about = |method: &str, params: &str| {
        let request = request(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#), &[]);
        format!("{:?}", request.target())
    };
    for (method, params, target) in [
        ("tools/call", r#"{"name":"a"}"#, "Tool(\"a\")"),
        ("prompts/get", r#"{"name":"a b","arguments":{"x":"y"}}"#, "Prompt(\"a b\")"),
        ("resources/read", r#"{"uri":"x:y"}"#, "Resource(\"x:y\")"),
        ("resources/subscribe", r#"{"uri":"x:y"}"#, "Resource(\"x:y\")"),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}"#,
            "Prompt(\"p\")",
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"x:{y}"},"argument":{"name":"a","value":""}}"#,
            "Resource(\"x:{y}\")",
        ),
        ("resources/list", r#"{"cursor":"c"}"#, "None"),
        ("logging/setLevel", r#"{"level":"info"}"#, "None"),
    ] {
        assert_eq!(about(method, params), target, "{method}");
    }
}

#[test]
fn parameters_with_two_readings_are_refused() {
    for (method, params) in [
        ("resources/read", r#"{"uri":"file:///a/../b"}"#),
        ("resources/read", r#"{"uri":"x:y","Uri":"x:z"}"#),
        ("resources/read", "{}"),
        ("resources/read", r#"{"uri":"x:y","requestState":"s"}"#),
        ("prompts/get", r#"{"name":" p"}"#),
        ("prompts/get", r#"{"name":"p","arguments":{"x":1}}"#),
        ("prompts/get", r#"{"name":"p","inputResponses":{}}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p","uri":"x:y"},"argument":{"name":"a","value":""}}"#,
        ),
        ("completion/complete", r#"{"ref":{"type":"ref/tool","name":"p"},"argument":{"name":"a","value":""}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a"}}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""},"context":{"arguments":{"x":1}}}"#,
        ),
        ("logging/setLevel", r#"{"level":"loud"}"#),
        ("prompts/list", r#"{"cursor":1}"#),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let refused = read(body.as_bytes(), &head(&[]), &Limits::DEFAULT).unwrap_err();
        assert_eq!((refused.status, refused.code), (400, Some(-32602)), "{body}");
    }
}

#[test]
fn a_client_answers_in_a_session_and_nowhere_else() {
    let answer = |body: &str, fields: &[(&str, &str)]| read(body.as_bytes(), &head(fields), &Limits::DEFAULT);
    let Ok(Incoming::Response(response)) = answer(r#"{"jsonrpc":"2.0","id":"ask","result":{"a":1.0}}"#, &[]) else {
        panic!("not read")
    };
    assert_eq!(
        text(&message::upstream_response(&response, &Id::Int(3))),
        r#"{"jsonrpc":"2.0","id":3,"result":{"a":1.0}}"#
    );
    assert!(answer(r#"{"jsonrpc":"2.0","id":"ask","error":{"code":-1,"message":"no"}}"#, &[]).is_ok());
    for bad in [
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"a","result":[]}"#,
        r#"{"jsonrpc":"2.0","id":"a","error":{"code":"1","message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":"a","error":{"code":1}}"#,
        r#"{"jsonrpc":"2.0","id":"a","result":{},"error":{"code":1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":"a","result":{},"params":{}}"#,
    ] {
        assert_eq!(answer(bad, &[]).unwrap_err().code, Some(-32600), "{bad}");
    }
    let stateless = [("mcp-protocol-version", "2026-07-28")];
    assert_eq!(answer(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, &stateless).unwrap_err().code, Some(-32600));
}

#[test]
fn a_list_keeps_what_may_be_seen_in_order() {
    let list = r#"{"tools":[{"name":"c","x":1},{"name":"a"},{"title":"none"},{"name":1},{"name":"no space"},"b",{"name":"b"},{"name":"c","x":2}],"nextCursor":"","cacheScope":"public"}"#;
    let mut result = object(list);
    assert_eq!(filter(&mut result, Listed::Tools, |name| name != "a", Era::Stateless), Ok(6));
    assert_eq!(
        written(&result),
        r#"{"tools":[{"name":"c","x":1},{"name":"b"}],"nextCursor":"","cacheScope":"private"}"#
    );
    let mut result = object(r#"{"tools":[{"name":"a"}]}"#);
    assert_eq!(filter(&mut result, Listed::Tools, |_| false, Era::Session), Ok(1));
    assert_eq!(written(&result), r#"{"tools":[]}"#);
    for bad in ["{}", r#"{"tools":{"name":"a"}}"#, r#"{"Tools":[]}"#] {
        assert_eq!(filter(&mut object(bad), Listed::Tools, |_| true, Era::Session), Err(UpstreamFault::ResultShape));
    }
}

#[test]
fn a_list_that_is_too_long_to_be_judged_is_not_shown() {
    let of = |count: usize| {
        let items: Vec<String> = (0..count).map(|number| format!(r#"{{"name":"t{number}"}}"#)).collect();
        let text = format!(r#"{{"tools":[{}]}}"#, items.join(","));
        let mut list = json::parse(text.as_bytes(), &Limits::ANSWER).unwrap().as_object().unwrap().clone();
        filter(&mut list, Listed::Tools, |_| true, Era::Session)
    };
    assert_eq!((of(5_000), of(5_001)), (Ok(0), Err(UpstreamFault::TooMany)));
}

#[test]
fn every_method_that_is_read_can_be_decided() {
    for (era, names) in [
        (
            Era::Session,
            "initialize ping logging/setLevel tools/list tools/call prompts/list prompts/get resources/list resources/templates/list resources/read resources/subscribe resources/unsubscribe completion/complete notifications/initialized notifications/cancelled notifications/progress notifications/roots/list_changed",
        ),
        (
            Era::Stateless,
            "server/discover tools/list tools/call prompts/list prompts/get resources/list resources/templates/list resources/read completion/complete subscriptions/listen",
        ),
    ] {
        for name in names.split(' ') {
            assert!(Method::find(name, era).is_some(), "{name}");
            assert!(crate::facts::method::Method::find(name).is_some(), "{name}");
        }
    }
    for name in ["sampling/createMessage", "elicitation/create", "roots/list"] {
        assert!(round::is_known(name) && crate::facts::method::SERVER_REQUESTS.contains(&name), "{name}");
    }
}

#[test]
fn a_tool_that_would_mirror_arguments_into_a_dangerous_field_is_not_shown() {
    let shown = |schema: &str| {
        let mut result = object(&format!(r#"{{"tools":[{{"name":"a","inputSchema":{schema}}}]}}"#));
        filter(&mut result, Listed::Tools, |_| true, Era::Stateless) == Ok(0)
    };
    let property = |header: &str| format!(r#"{{"properties":{{"a":{{"type":"string","x-mcp-header":{header}}}}}}}"#);
    for good in [
        property(r#""Region""#),
        property(r#""X-User""#),
        "{}".to_owned(),
        r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#.to_owned(),
    ] {
        assert!(shown(&good), "{good}");
    }
    for bad in [r#""Authorization""#, r#""HOST""#, r#""""#, r#""a\r\nb""#, r#""a b""#, r#""a:""#, "1", "null"] {
        assert!(!shown(&property(bad)), "{bad}");
    }
    assert!(!shown(r#"{"properties":{"a":{"x-mcp-header":"R"},"b":{"properties":{"c":{"x-mcp-header":"r"}}}}}"#));
}

#[test]
fn a_server_does_not_speak_in_our_name() {
    let body =
        br#"{"jsonrpc":"2.0","id":"ours","result":{"_meta":{"ostiary/refusal":{"code":4030},"com.example/x":1}}}"#;
    let answer = read_response(body, "ours", Era::Session).unwrap();
    assert_eq!(written(answer.result.as_ref().unwrap()), r#"{"_meta":{"com.example/x":1}}"#);
}

#[test]
fn only_served_capabilities_are_announced() {
    let mut result = object(
        r#"{"capabilities":{"tools":{"listChanged":true},"tasks":{},"logging":{},"Tools":{}},"protocolVersion":"2025-11-25"}"#,
    );
    filter_capabilities(&mut result, Era::Session).unwrap();
    assert_eq!(
        written(&result),
        r#"{"capabilities":{"tools":{"listChanged":true},"logging":{}},"protocolVersion":"2025-11-25"}"#
    );
    let mut result = object(
        r#"{"supportedVersions":["2026-07-28","2024-11-05","2025-11-25"],"capabilities":{"logging":{}},"cacheScope":"public"}"#,
    );
    filter_capabilities(&mut result, Era::Stateless).unwrap();
    assert_eq!(
        written(&result),
        r#"{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"logging":{}},"cacheScope":"private"}"#
    );
}
