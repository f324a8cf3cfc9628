//! Which hosts and origins a request may name.

use std::fmt;

/// The default ports of the two schemes. TLS may end in front of us, so a bare host can mean either.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// A host name or address in lower case, with its port if one was written (RFC 9110 section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    name: String,
    port: Option<u16>,
}

impl Authority {
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
            (text.get(..address.len() + 2).filter(|_| valid)?, port)
        } else {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let charset = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            ((!name.is_empty() && name.bytes().all(charset)).then_some(name)?, port)
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some(digits) => {
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
                Some(digits.parse().ok().filter(|_| plain)?)
            }
        };
        Some(Self { name: name.to_ascii_lowercase(), port })
    }

    /// Whether this entry of a list covers `name`, on one of `ports` where the entry writes none.
    fn covers(&self, other: &Self, default_ports: &[u16]) -> bool {
        self.name == other.name
            && match (self.port, other.port) {
                (Some(entry), Some(port)) => entry == port,
                (None, None) => true,
                (Some(port), None) | (None, Some(port)) => default_ports.contains(&port),
            }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

/// Whether `host`, as a request names it, is one of `list`. An entry without a port means the scheme's default port.
#[must_use]
pub fn allowed(host: &str, list: &[String]) -> bool {
    Authority::parse(host).is_some_and(|host| covered(&host, list, &DEFAULT_PORTS))
}

fn covered(host: &Authority, list: &[String], default_ports: &[u16]) -> bool {
    list.iter().filter_map(|entry| Authority::parse(entry)).any(|entry| entry.covers(host, default_ports))
}

/// Whether a request from `origin` (RFC 6454 section 7) may be taken: none at all, an http(s) origin on one of
/// `hosts` with the same port, or one of `origins`. `null` never.
#[must_use]
pub fn origin_allowed(origin: Option<&str>, hosts: &[String], origins: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    if origin == "null" {
        return false;
    }
    let parsed = parse_origin(origin);
    let listed = origins.iter().any(|entry| entry == origin || (parsed.is_some() && parse_origin(entry) == parsed));
    listed || parsed.is_some_and(|(host, default_port)| covered(&host, hosts, &[default_port]))
}

/// The authority of an http(s) origin with its port filled in, and the default port of its scheme.
fn parse_origin(origin: &str) -> Option<(Authority, u16)> {
    let (rest, default_port) = match origin.split_once("://")? {
        ("http", rest) => (rest, 80),
        ("https", rest) => (rest, 443),
        _ => return None,
    };
    let authority = Authority::parse(rest)?;
    Some((Authority { port: Some(authority.port.unwrap_or(default_port)), ..authority }, default_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn a_host_is_allowed_by_name_and_port() {
        let hosts = list(&["127.0.0.1:8811", "gw.example.com", "[::1]:8811", "api.example.com:443"]);
        for good in [
            "127.0.0.1:8811",
            "gw.example.com",
            "GW.Example.Com",
            "gw.example.com:443",
            "gw.example.com:80",
            "[::1]:8811",
            "api.example.com",
            "api.example.com:443",
        ] {
            assert!(allowed(good, &hosts), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:8812",
            "localhost:8811",
            "gw.example.com.",
            "gw.example.com:8811",
            "evil.gw.example.com",
            "gw.example.com@evil.com",
            "gw.example.com/health?x=",
            "gw.example.com:",
            "gw.example.com:0443",
            "gw.example.com:+443",
            "api.example.com:80",
            "[::1",
            "[::1]x",
            "[gw]",
            "",
            ":8811",
            "gw.example.com:99999",
            "127.0.0.1:8811, evil.com",
        ] {
            assert!(!allowed(bad, &hosts), "{bad}");
        }
        assert!(!allowed("gw.example.com", &[]));
    }

    #[test]
    fn an_origin_passes_if_absent_own_or_listed() {
        let hosts = list(&["127.0.0.1:8811", "gw.example.com"]);
        let origins = list(&["https://app.example.com", "vscode-webview://panel", "null"]);
        for good in [
            None,
            Some("http://127.0.0.1:8811"),
            Some("https://127.0.0.1:8811"),
            Some("https://gw.example.com"),
            Some("http://gw.example.com"),
            Some("https://gw.example.com:443"),
            Some("https://app.example.com"),
            Some("https://app.example.com:443"),
            Some("vscode-webview://panel"),
        ] {
            assert!(origin_allowed(good, &hosts, &origins), "{good:?}");
        }
        for bad in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:8812",
            "http://gw.example.com:443",
            "https://gw.example.com:80",
            "https://gw.example.com.evil.com",
            "https://evil.com",
            "http://app.example.com",
            "https://app.example.com/",
            "https://app.example.com:8443",
            "ftp://gw.example.com",
            "https://user@gw.example.com",
            "HTTPS://gw.example.com",
            "https://gw.example.com https://gw.example.com",
            "vscode-webview://other",
        ] {
            assert!(!origin_allowed(Some(bad), &hosts, &origins), "{bad}");
        }
    }
}
