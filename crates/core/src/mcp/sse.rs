//! Event streams: read from an upstream however its bytes arrive, and written for a client.
//!
//! The grammar is that of the HTML standard, section 9.2 (Server-sent events). Where a browser would go on in spite
//! of something, this reader may stop: it never shortens an event.

use super::UpstreamFault;

/// One event. A field that did not occur is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub event: Option<String>,
    /// The `data` lines joined by line feeds. Empty data primes a stream for resumption (2025-11-25, Transports).
    pub data: Option<String>,
    pub id: Option<String>,
    /// Milliseconds to wait before reconnecting.
    pub retry: Option<u64>,
}

/// Reads events from bytes as they come.
#[derive(Debug, Clone)]
pub struct Decoder {
    line: Vec<u8>,
    pending: Event,
    /// Bytes held for the event that is being read, its unfinished line included.
    held_bytes: usize,
    limit_bytes: usize,
    started: bool,
    /// The last byte was a CR, so that an LF next belongs to the same line end.
    after_cr: bool,
    comments: usize,
    /// What ended the reading.
    fault: Option<UpstreamFault>,
}

impl Decoder {
    /// A decoder at the beginning of a stream. One event may take up to `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            pending: Event::default(),
            held_bytes: 0,
            limit_bytes,
            started: false,
            after_cr: false,
            comments: 0,
            fault: None,
        }
    }

    /// Takes the next bytes and gives the events that they complete.
    ///
    /// # Errors
    /// [`UpstreamFault`] for a line that is not UTF-8 or an event over the limit. Events that were whole before it are
    /// given first, so that nothing depends on how the bytes were cut; every later call gives the fault.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, UpstreamFault> {
        let mut events = Vec::new();
        if self.fault.is_none() {
            self.fault = self.take(bytes, &mut events).err();
        }
        match &self.fault {
            Some(fault) if events.is_empty() => Err(fault.clone()),
            _ => Ok(events),
        }
    }

    fn take(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), UpstreamFault> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.hold(part.len())?;
            self.line.extend_from_slice(part);
            let Some((terminator, rest)) = rest.split_first() else { break };
            self.after_cr = *terminator == b'\r';
            bytes = rest;
            let line = std::mem::take(&mut self.line);
            events.extend(self.end_line(&line)?);
            // The buffer is kept for the next line.
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    /// The fault that ended the reading, if one did.
    #[must_use]
    pub fn fault(&self) -> Option<&UpstreamFault> {
        self.fault.as_ref()
    }

    /// Whether the stream could end here without cutting an event in two.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        self.fault.is_none() && self.line.is_empty() && self.pending == Event::default()
    }

    /// How many comment lines came since this was last asked. Servers send them to keep a stream alive.
    pub fn take_comments(&mut self) -> usize {
        std::mem::take(&mut self.comments)
    }

    fn hold(&mut self, bytes: usize) -> Result<(), UpstreamFault> {
        self.held_bytes += bytes;
        if self.held_bytes > self.limit_bytes { Err(UpstreamFault::EventTooLarge) } else { Ok(()) }
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<Event>, UpstreamFault> {
        let line = std::str::from_utf8(line).map_err(|_| UpstreamFault::EventUtf8)?;
        let line = if std::mem::replace(&mut self.started, true) {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        if line.is_empty() {
            self.held_bytes = 0;
            let event = std::mem::take(&mut self.pending);
            return Ok((event != Event::default()).then_some(event));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => {
                self.comments += 1;
                self.held_bytes -= line.len().min(self.held_bytes);
            }
            "event" => self.pending.event = Some(value.to_owned()),
            "data" => match &mut self.pending.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.pending.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.pending.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.pending.retry = value.parse().ok();
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Appends an event. Line ends in `data` begin new `data` lines, and those in other fields are left out, so nothing
/// that an event holds can end it or begin another.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    let mut field = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    };
    let one_line = |text: &str| text.replace(['\r', '\n', '\0'], "");
    if let Some(name) = &event.event {
        field("event", &one_line(name));
    }
    if let Some(id) = &event.id {
        field("id", &one_line(id));
    }
    if let Some(retry) = event.retry {
        field("retry", &retry.to_string());
    }
    if let Some(data) = &event.data {
        for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
            field("data", line);
        }
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Event {
        Event { data: Some(text.to_owned()), ..Event::default() }
    }

    fn all(bytes: &[u8]) -> Vec<Event> {
        Decoder::new(1 << 16).feed(bytes).unwrap()
    }

    #[test]
    fn the_grammar_is_that_of_the_html_standard() {
        assert_eq!(all(b"data: YHOO\ndata: +2\ndata: 10\n\n"), [data("YHOO\n+2\n10")]);
        assert_eq!(
            all(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
            [
                Event { id: Some("1".to_owned()), ..data("first event") },
                Event { id: Some(String::new()), ..data("second event") },
                data(" third event"),
            ]
        );
        assert_eq!(all(b"data\n\ndata\ndata\n\ndata:"), [data(""), data("\n")]);
        assert_eq!(all(b"data:test\n\ndata: test\n\n"), [data("test"), data("test")]);
        assert_eq!(
            all(b"\xef\xbb\xbfdata: a\r\revent: b\r\nretry: 30\r\n\r\nretry: x\nunknown: y\nid: a\0b\n\n"),
            [data("a"), Event { event: Some("b".to_owned()), retry: Some(30), ..Event::default() },]
        );
    }

    #[test]
    fn an_event_over_the_limit_is_an_error_and_never_cut() {
        let mut decoder = Decoder::new(16);
        assert_eq!(decoder.feed(b"data: 0123456789\n\n").unwrap(), [data("0123456789")]);
        assert_eq!(
            decoder.feed(b": comments that are dropped count only while they come\n"),
            Err(UpstreamFault::EventTooLarge)
        );
        let mut decoder = Decoder::new(16);
        for _ in 0..100 {
            assert_eq!(decoder.feed(b": keep alive\n\n").unwrap(), []);
        }
        assert_eq!(decoder.take_comments(), 100);
        assert!(decoder.is_between_events());
        assert_eq!(decoder.feed(b"data: 01234567"), Ok(vec![]));
        assert!(!decoder.is_between_events());
        assert_eq!(decoder.feed(b"89a"), Err(UpstreamFault::EventTooLarge));
        assert_eq!(Decoder::new(9).feed(b"data:\ndata:\n\n"), Err(UpstreamFault::EventTooLarge));
        assert_eq!(Decoder::new(99).feed(b"data: \xff\n"), Err(UpstreamFault::EventUtf8));
    }

    #[test]
    fn events_before_a_fault_are_given_however_the_bytes_are_cut() {
        let mut decoder = Decoder::new(99);
        assert_eq!(decoder.feed(b"data: a\n\ndata: \xff\n\ndata: b\n\n"), Ok(vec![data("a")]));
        assert_eq!(decoder.fault(), Some(&UpstreamFault::EventUtf8));
        assert!(!decoder.is_between_events());
        assert_eq!(decoder.feed(b"data: c\n\n"), Err(UpstreamFault::EventUtf8));
    }

    #[test]
    fn nothing_that_an_event_holds_becomes_another_event() {
        let hostile = "x\n\ndata: evil\r\rid: 9\r\n\r\nevent: y\0";
        let event = Event {
            event: Some(hostile.to_owned()),
            data: Some(hostile.to_owned()),
            id: Some(hostile.to_owned()),
            retry: Some(1),
        };
        let mut out = Vec::new();
        encode(&event, &mut out);
        let events = all(&out);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].data.as_deref(), Some("x\n\ndata: evil\n\nid: 9\n\nevent: y\0"));
        assert_eq!(events[0].id.as_deref(), Some("xdata: evilid: 9event: y"));
    }
}
