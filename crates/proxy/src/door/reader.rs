//! The socket behind the reader of raw heads, as a transport for the HTTP library.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::head::frame::{Fault, Framer, REFUSED, Refused};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Verdict;
use super::times::{Alarm, HEAD, LINGER};
use super::wire::Wire;

/// Bytes read at once where every byte is looked at.
const PIECE: usize = 16 * 1024;
/// Bytes read and dropped after a refusal.
const DROPPED: usize = 1024 * 1024;

/// What the library will get when all that was passed has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing: it has the head that stands for the refused one, and closes after its answer.
    Refused,
    /// An error in the middle of a body.
    Broken,
    /// The end of the connection.
    Closed,
}

/// A transport that hands on only what has one reading.
#[derive(Debug)]
pub struct Door<S> {
    io: TokioIo<Wire<S>>,
    framer: Framer,
    verdict: Verdict,
    /// Passed, and more than the library had room for.
    ready: Vec<u8>,
    end: Option<End>,
    /// When the first head must have come, until it has.
    first: Option<Instant>,
    /// When the head that has begun must end.
    head: Option<Instant>,
    waiting: Alarm,
    lingering: Alarm,
    shut: bool,
    dropped: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Door<S> {
    /// A connection that has just been opened. Its refused head, if it comes to that, is laid in `verdict`.
    pub fn new(stream: S, verdict: Verdict) -> Self {
        Self {
            io: TokioIo::new(Wire::new(stream)),
            framer: Framer::default(),
            verdict,
            ready: Vec::new(),
            end: None,
            first: Some(Instant::now() + HEAD),
            head: None,
            waiting: Alarm::default(),
            lingering: Alarm::default(),
            shut: false,
            dropped: 0,
        }
    }

    /// Reads straight into the library's buffer what belongs to a body of known length.
    fn pass(&mut self, context: &mut Context<'_>, cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let before = self.io.inner().count();
        ready!(Pin::new(&mut self.io).poll_read(context, cursor))?;
        let count = self.io.inner().count() - before;
        self.framer.passed(count);
        if count == 0 {
            self.end = Some(End::Closed);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a piece and shows it to the reader. Ready when `cursor` got something or `end` is known.
    fn judge(&mut self, context: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let room = cursor.remaining();
        while self.end.is_none() && cursor.remaining() == room {
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            if Pin::new(self.io.inner_mut()).poll_read(context, &mut piece)?.is_pending() {
                ready!(self.wait(context, cursor));
                continue;
            }
            if piece.filled().is_empty() {
                self.end = Some(End::Closed);
                break;
            }
            let (framer, ready) = (&mut self.framer, &mut self.ready);
            let fed = framer.feed(piece.filled(), &mut |passed| put(passed, cursor, ready));
            match fed {
                Ok(()) => {}
                Err(Fault::Head(refused)) => self.refuse(refused, cursor),
                Err(Fault::Body(_)) => self.end = Some(End::Broken),
            }
            if cursor.remaining() != room {
                (self.first, self.head) = (None, None);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for more of a head, as long as there is time. A message whose head has come has its times elsewhere.
    fn wait(&mut self, context: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<()> {
        if self.framer.in_head() && self.head.is_none() {
            self.head = Some(Instant::now() + HEAD);
        }
        let Some(deadline) = [self.first, self.head].into_iter().flatten().min() else { return Poll::Pending };
        ready!(self.waiting.poll_at(deadline, context));
        if self.framer.in_head() {
            let refusal = Refusal::new(Reason::Timeout, "The request head did not arrive in time.");
            let refused = self.framer.refuse(refusal);
            self.refuse(Box::new(refused), cursor);
        } else {
            self.end = Some(End::Closed);
        }
        Poll::Ready(())
    }

    /// Gives the library the head that stands for a refused one.
    fn refuse(&mut self, refused: Box<Refused>, cursor: &mut ReadBufCursor<'_>) {
        self.verdict.set(refused);
        let stand_in = format!("{REFUSED} / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n");
        put(stand_in.as_bytes(), cursor, &mut self.ready);
        self.end = Some(End::Refused);
    }
}

/// Gives `cursor` what it has room for, and keeps the rest.
fn put(passed: &[u8], cursor: &mut ReadBufCursor<'_>, ready: &mut Vec<u8>) {
    // Whatever is kept comes before what follows.
    let room = if ready.is_empty() { cursor.remaining().min(passed.len()) } else { 0 };
    let (now, later) = passed.split_at_checked(room).unwrap_or((passed, &[]));
    cursor.put_slice(now);
    ready.extend_from_slice(later);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for Door<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ready.is_empty() {
            let kept = std::mem::take(&mut this.ready);
            put(&kept, &mut cursor, &mut this.ready);
            return Poll::Ready(Ok(()));
        }
        let room = cursor.remaining();
        if this.end.is_none() {
            if room > 0 && this.framer.passing() >= room as u64 {
                return this.pass(context, cursor);
            }
            ready!(this.judge(context, &mut cursor))?;
            if cursor.remaining() != room {
                return Poll::Ready(Ok(()));
            }
        }
        match this.end {
            // Not the end of the connection: the library takes that for a client that no longer waits for an answer.
            Some(End::Refused) | None => Poll::Pending,
            Some(End::Broken) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Some(End::Closed) => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Door<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
            this.shut = true;
        }
        if this.end == Some(End::Closed) || (this.end.is_none() && this.framer.between_messages()) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            match Pin::new(this.io.inner_mut()).poll_read(context, &mut piece) {
                Poll::Pending => {
                    ready!(this.lingering.poll_after(LINGER, context));
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(read) => {
                    this.dropped += piece.filled().len();
                    if read.is_err() || piece.filled().is_empty() || this.dropped > DROPPED {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, pieces)
    }
}
