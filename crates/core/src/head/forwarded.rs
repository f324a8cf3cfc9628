//! Where a request comes from when it came through proxies that we trust.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Reason, Refusal};

/// The address of the caller: that of the connection, unless a trusted proxy holds it; then the last address of
/// `X-Forwarded-For` that is none of a trusted proxy, since each hop adds at the end where it was called from. `values`
/// are the fields of that name in the order sent. What stands further to the left was written by the caller and is not
/// looked at.
///
/// # Errors
/// [`Refusal`] for an entry that counts and is no address: whoever is trusted to tell must tell.
pub fn source<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> Result<IpAddr, Refusal> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut source = peer.to_canonical();
    if !is_trusted(source) {
        return Ok(source);
    }
    for value in values.rev() {
        for entry in value.rsplit(|byte| *byte == b',') {
            source = address(entry).ok_or_else(|| {
                Refusal::new(Reason::Header, "`X-Forwarded-For` holds something that is no IP address.")
            })?;
            if !is_trusted(source) {
                return Ok(source);
            }
        }
    }
    Ok(source)
}

/// `192.0.2.1`, `2001:db8::1`, and the forms with a port that some proxies write.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let plain = match bare {
        Some(six) => six.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    plain.or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn from(peer: &str, fields: &[&str]) -> Option<String> {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "::1/128"].iter().map(|net| net.parse().unwrap()).collect();
        let values = fields.iter().map(|field| field.as_bytes());
        source(peer.parse().unwrap(), &trusted, values).ok().map(|address| address.to_string())
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        for (peer, fields, source) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("192.0.2.1", &["rubbish"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("::1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["127.0.0.1,\t203.0.113.9 , 10.1.1.1,10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1", "203.0.113.9", "10.3.3.3"], "203.0.113.9"),
            ("10.0.0.1", &["\"<script>\", 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["10.4.4.4, 10.5.5.5"], "10.4.4.4"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", &["[2001:db8::7]:4711, [::1]"], "2001:db8::7"),
        ] {
            assert_eq!(from(peer, fields).as_deref(), Some(source), "{peer} {fields:?}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_says_must_be_an_address() {
        for bad in [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.9,",
            "203.0.113.009",
            "0x7f.1",
            "[203.0.113.9]",
            "fe80::1%eth0",
            "é",
        ] {
            assert_eq!(from("10.0.0.1", &[bad]), None, "{bad}");
        }
        assert_eq!(from("10.0.0.1", &["203.0.113.9", ""]), None);
        assert_eq!(from("10.0.0.1", &["203.0.113.9, nobody, 10.1.1.1"]), None);
    }
}
