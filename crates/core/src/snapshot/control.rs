//! What is handed to the control app, and nothing else: a closed table of methods and exact paths.

use std::collections::BTreeMap;

use crate::fields::Fault;
use crate::head;
use crate::json::Value;

/// Path under which RFC 9728 section 3.1 puts the metadata of a resource, before the resource's own path.
pub const METADATA_PREFIX: &str = "/.well-known/oauth-protected-resource";
/// Path of the key set that upstream servers check our tokens with.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

const METHODS: [&str; 3] = ["GET", "OPTIONS", "POST"];

/// Whose pages may ask for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Those of this gateway, and of the origins that are allowed besides.
    Own,
    /// Those of anybody (CORS): the app says what they may read.
    Any,
}

/// The whole table. An empty one hands nothing over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control(BTreeMap<String, Path>);

/// One path of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path {
    methods: BTreeMap<&'static str, Pages>,
    allow: String,
}

impl Control {
    /// The entry of exactly this path: no decoding, no case folding, no slash more or less.
    #[must_use]
    pub fn path(&self, path: &str) -> Option<&Path> {
        self.0.get(path)
    }

    /// Reads `[[method, path, "own" | "any"], …]`, which stands at `control`.
    pub(super) fn read(list: &[Value]) -> Result<Self, Fault> {
        let mut table = Self::default();
        for (at, item) in list.iter().enumerate() {
            table.add(item).map_err(|why| Fault::at(format!("control[{at}]"), why))?;
        }
        Ok(table)
    }

    fn add(&mut self, item: &Value) -> Result<(), &'static str> {
        let texts = crate::fields::texts(item).unwrap_or_default();
        let [method, path, pages] = texts.as_slice() else { return Err("must be [method, path, own or any]") };
        let pages = match pages.as_str() {
            "own" => Pages::Own,
            "any" => Pages::Any,
            _ => return Err("must be open to pages of own or any"),
        };
        let method = METHODS.into_iter().find(|known| known == method).ok_or("must take GET, POST or OPTIONS")?;
        if !head::is_plain_path(path) || is_ours(method, path) {
            return Err("must be a plain path that is not served by the data plane itself");
        }
        let entry = self.0.entry(path.clone()).or_default();
        if entry.methods.insert(method, pages).is_some() {
            return Err("is there twice");
        }
        let head = (entry.pages("HEAD").is_some()).then_some("HEAD");
        entry.allow = entry.methods.keys().copied().chain(head).collect::<Vec<_>>().join(", ");
        Ok(())
    }
}

/// Whether the data plane answers there itself: its documents, and the endpoints of MCP, which are one segment long. What
/// lies beneath an endpoint takes no body.
fn is_ours(method: &str, path: &str) -> bool {
    let endpoint = path.strip_prefix("/mcp/").is_some_and(|rest| method == "POST" || !rest.contains('/'));
    endpoint || is_document(path)
}

/// Whether a public document of the data plane stands there, or would.
#[must_use]
pub fn is_document(path: &str) -> bool {
    path == JWKS_PATH || path.starts_with(METADATA_PREFIX)
}

impl Path {
    /// Whose pages may ask with `method`; `None` where the path does not take it. What programs may GET has a HEAD; a page
    /// has none, because to show it is an act.
    #[must_use]
    pub fn pages(&self, method: &str) -> Option<Pages> {
        match method {
            "HEAD" => self.methods.get("GET").copied().filter(|pages| *pages == Pages::Any),
            _ => self.methods.get(method).copied(),
        }
    }

    /// The methods that it takes, as `Allow` lists them.
    #[must_use]
    pub fn allow(&self) -> &str {
        &self.allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, parse};

    fn read(text: &str) -> Result<Control, String> {
        let value = parse(text.as_bytes(), &Limits::DEFAULT).unwrap();
        Control::read(value.as_array().unwrap()).map_err(|fault| fault.path)
    }

    #[test]
    fn a_path_is_known_exactly_as_it_is_written() {
        let table = read(
            r#"[["POST","/oauth/token","any"],["OPTIONS","/oauth/token","any"],["GET","/oauth/authorize","own"],
                ["GET","/mcp/notes/.well-known/openid-configuration","any"]]"#,
        )
        .unwrap();
        let token = table.path("/oauth/token").unwrap();
        assert_eq!(token.allow(), "OPTIONS, POST");
        assert_eq!((token.pages("POST"), token.pages("GET"), token.pages("post")), (Some(Pages::Any), None, None));
        let page = table.path("/oauth/authorize").unwrap();
        assert_eq!((page.pages("GET"), page.pages("HEAD"), page.allow()), (Some(Pages::Own), None, "GET"));
        let document = table.path("/mcp/notes/.well-known/openid-configuration").unwrap();
        assert_eq!((document.pages("HEAD"), document.allow()), (Some(Pages::Any), "GET, HEAD"));
        for other in ["/oauth/token/", "/oauth/Token", "/oauth", "/", "", "/oauth/token?x", "/oauth/%74oken"] {
            assert_eq!(table.path(other), None, "{other}");
        }
    }

    #[test]
    fn an_entry_that_could_shadow_another_route_is_refused() {
        for bad in [
            r#"["GET"]"#,
            r#"["GET","/a","any","x"]"#,
            r#"["GET",1,"any"]"#,
            r#""GET""#,
            r#"["HEAD","/a","any"]"#,
            r#"["DELETE","/a","any"]"#,
            r#"["get","/a","any"]"#,
            r#"["GET","/a","all"]"#,
            r#"["GET","a","any"]"#,
            r#"["GET","/a?b","any"]"#,
            r#"["GET","/a//b","any"]"#,
            r#"["GET","/a/../b","any"]"#,
            r#"["GET","/%61","any"]"#,
            r#"["GET","/mcp/notes","any"]"#,
            r#"["POST","/mcp/notes/x","any"]"#,
            r#"["GET","/.well-known/jwks.json","any"]"#,
            r#"["GET","/.well-known/oauth-protected-resource/mcp/notes","any"]"#,
        ] {
            assert_eq!(read(&format!("[{bad}]")), Err("control[0]".to_owned()), "{bad}");
        }
        assert_eq!(read(r#"[["GET","/a","any"],["GET","/a","own"]]"#), Err("control[1]".to_owned()));
        assert_eq!(read("[]"), Ok(Control::default()));
    }
}
