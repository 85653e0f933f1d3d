//! One open channel and the local socket pair that it is tied to.
//!
//! The other end of the pair is what the async side reads and writes, so that its kernel buffer is the back-pressure, its
//! shutdown the half-close, and its hang-up the sign that nobody wants the channel any more.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, ErrorCode, Session};
use tokio::sync::oneshot;

use super::pump::{Broken, fd, writable};

/// Bytes taken at a time in each direction: two of SSH's 32 KiB packets.
///
/// Every read of a channel must ask for the same number of bytes, its stderr included: when libssh2 cannot send a window
/// adjustment at once, it finishes it in the next read but books the window by that read's own size. With two sizes both ends
/// disagree on the window, and libssh2 drops what it believes to be too much.
const CHUNK: usize = 64 * 1024;
/// Chunks that one line may move before the next one gets its turn.
const TURN: usize = 16;
/// Bytes of stderr that are kept of a process; the rest is read and forgotten.
const STDERR_KEPT: usize = 256 * 1024;

/// How a process ended.
#[derive(Debug, Default)]
pub(super) struct Exited {
    pub status: i32,
    pub signal: Option<String>,
    pub stderr: Vec<u8>,
}

/// What poll(2) is to watch on the local side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    read: bool,
    write: bool,
}

impl Sides {
    pub(super) fn flags(self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.read);
        flags.set(PollFlags::OUT, self.write);
        flags
    }
}

/// A channel with its local end.
pub(super) struct Line {
    channel: Channel,
    /// `None` once nobody is there or nothing more can flow.
    pipe: Option<UnixStream>,
    clean: Arc<AtomicBool>,
    process: Option<Process>,
    from_remote: Flow,
    from_local: Flow,
    /// libssh2 has sent a part of a packet of this channel; see the module `pump`.
    half_sent: bool,
    /// The last packet did not fit into the window that the host has granted.
    window_full: bool,
    /// The socket took no more when there was something to send.
    held_up: bool,
    hung_up: bool,
    closed: bool,
}

/// What only a process has.
struct Process {
    exit: oneshot::Sender<Exited>,
    stderr: Vec<u8>,
    buffer: Vec<u8>,
}

/// One direction: a chunk on its way and how far the end has got.
#[derive(Default)]
struct Flow {
    /// Empty until first used, then always [`CHUNK`] long.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The source has ended.
    ended: bool,
    /// The sink has been told so.
    told: bool,
}

impl Flow {
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
    }

    /// Refills the empty buffer from a source.
    fn refill(&mut self, read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> std::io::Result<usize> {
        self.buffer.resize(CHUNK, 0);
        let count = read(&mut self.buffer)?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// Drops what is on its way and takes no more.
    fn discard(&mut self) {
        (self.start, self.end) = (0, 0);
        self.ended = true;
        self.told = true;
    }
}

impl Line {
    pub(super) fn new(
        channel: Channel,
        pipe: UnixStream,
        clean: Arc<AtomicBool>,
        exit: Option<oneshot::Sender<Exited>>,
    ) -> Self {
        Self::with(channel, Some(pipe), clean, exit)
    }

    fn with(channel: Channel, pipe: Option<UnixStream>, clean: Arc<AtomicBool>, exit: Option<oneshot::Sender<Exited>>) -> Self {
        Self {
            channel,
            pipe,
            clean,
            process: exit.map(|exit| Process { exit, stderr: Vec::new(), buffer: vec![0; CHUNK] }),
            from_remote: Flow::default(),
            from_local: Flow::default(),
            half_sent: false,
            window_full: false,
            held_up: false,
            hung_up: false,
            closed: false,
        }
    }

    /// A channel that only has to be closed.
    pub(super) fn closing(channel: Channel) -> Self {
        Self::with(channel, None, Arc::default(), None)
    }

    /// Moves what can be moved; says whether anything did.
    pub(super) fn pump(&mut self, session: &Session, socket: &TcpStream) -> Result<bool, Broken> {
        if self.pipe.is_none() {
            return self.close(session);
        }
        let inward = self.inward()?;
        let outward = self.outward(session, socket)?;
        let finished = self.finish()?;
        Ok(inward | outward | finished)
    }

    /// Host → operator.
    fn inward(&mut self) -> Result<bool, Broken> {
        let mut moved = false;
        for _ in 0..TURN {
            if !self.from_remote.is_empty() {
                let Some(pipe) = &mut self.pipe else { break };
                match pipe.write(self.from_remote.rest()) {
                    Ok(count) => self.from_remote.advance(count),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // Nobody reads any more.
                    Err(_) => {
                        self.pipe = None;
                        return Ok(true);
                    }
                }
                moved = true;
            } else if self.from_remote.ended {
                break;
            } else {
                moved |= self.drain_stderr()?;
                let channel = &mut self.channel;
                match self.from_remote.refill(|buffer| channel.read(buffer)) {
                    Ok(0) if self.channel.eof() => {
                        self.from_remote.ended = true;
                        moved = true;
                    }
                    Ok(0) => break,
                    Ok(_) => moved = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Broken(error.to_string())),
                }
            }
        }
        if self.from_remote.ended && self.from_remote.is_empty() && !self.from_remote.told {
            self.from_remote.told = true;
            self.clean.store(true, Ordering::Release);
            if let Some(pipe) = &self.pipe {
                let _ = pipe.shutdown(Shutdown::Write);
            }
            moved = true;
        }
        Ok(moved)
    }

    fn drain_stderr(&mut self) -> Result<bool, Broken> {
        let Some(Process { stderr, buffer, .. }) = &mut self.process else { return Ok(false) };
        let mut moved = false;
        loop {
            match self.channel.stderr().read(buffer) {
                Ok(0) => return Ok(moved),
                Ok(count) => {
                    let room = STDERR_KEPT.saturating_sub(stderr.len());
                    stderr.extend(&buffer[..count.min(room)]);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(Broken(error.to_string())),
            }
        }
    }

    /// Operator → host.
    fn outward(&mut self, session: &Session, socket: &TcpStream) -> Result<bool, Broken> {
        let mut moved = false;
        self.held_up = false;
        for _ in 0..TURN {
            if !self.from_local.is_empty() {
                if !writable(socket)? {
                    self.held_up = true;
                    break;
                }
                if self.send(session) == 0 {
                    break;
                }
                moved = true;
            } else if self.from_local.ended {
                break;
            } else {
                let Some(pipe) = &mut self.pipe else { break };
                match self.from_local.refill(|buffer| pipe.read(buffer)) {
                    Ok(0) => self.from_local.ended = true,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => self.from_local.ended = true,
                }
                moved = true;
            }
        }
        if self.from_local.ended && self.from_local.is_empty() && !self.from_local.told {
            if !writable(socket)? {
                self.held_up = true;
                return Ok(moved);
            }
            match self.channel.send_eof() {
                Err(error) if would_block(&error) => {}
                // Any other error: the host has closed the channel, `finish` will see it.
                _ => {
                    self.from_local.told = true;
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Sends of the current chunk what fits; 0 when the window or the socket is full.
    fn send(&mut self, session: &Session) -> usize {
        (self.half_sent, self.window_full) = (false, false);
        match self.channel.write(self.from_local.rest()) {
            Ok(count) => {
                self.from_local.advance(count);
                self.window_full = count == 0;
                count
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.half_sent = matches!(session.block_directions(), BlockDirections::Outbound | BlockDirections::Both);
                self.window_full = !self.half_sent && self.channel.write_window().remaining == 0;
                0
            }
            // The channel takes no more; if it is the whole session, reading will tell.
            Err(_) => {
                self.from_local.discard();
                0
            }
        }
    }

    /// Lets go of the local side when nothing more can flow, and reports how a process ended.
    fn finish(&mut self) -> Result<bool, Broken> {
        if self.hung_up && !self.from_remote.told {
            self.pipe = None;
            return Ok(true);
        }
        if !self.from_remote.told {
            return Ok(false);
        }
        match self.channel.wait_close() {
            Ok(()) => {}
            Err(error) if would_block(&error) => {
                // A socket is done when both directions have ended; a process still owes its status.
                if self.process.is_none() && self.from_local.told {
                    self.pipe = None;
                    return Ok(true);
                }
                return Ok(false);
            }
            Err(error) => return Err((&error).into()),
        }
        if let Some(Process { exit, stderr, .. }) = self.process.take() {
            let signal = self.channel.exit_signal().ok().and_then(|signal| signal.exit_signal);
            let status = if signal.is_some() { -1 } else { self.channel.exit_status().unwrap_or(-1) };
            let _ = exit.send(Exited { status, signal, stderr });
        }
        self.pipe = None;
        Ok(true)
    }

    fn close(&mut self, session: &Session) -> Result<bool, Broken> {
        if self.half_sent {
            self.send(session);
            if self.half_sent {
                return Ok(false);
            }
        }
        self.from_local.discard();
        match self.channel.close() {
            Err(error) if would_block(&error) => Ok(false),
            // Whatever it is, libssh2 regards the channel as closed.
            _ => {
                self.closed = true;
                Ok(true)
            }
        }
    }

    /// The other end of the local pair is gone, or both directions of it have ended.
    pub(super) fn hung_up(&mut self) {
        self.hung_up = true;
    }

    /// Whether the channel is closed on both sides and can be freed.
    pub(super) fn is_done(&self) -> bool {
        self.closed
    }

    /// Whether libssh2 already holds something that [`Self::pump`] would take.
    pub(super) fn has_input(&self) -> bool {
        self.pipe.is_some()
            && ((self.takes_remote() && (self.channel.read_window().available > 0 || self.channel.eof()))
                || (self.window_full && self.channel.write_window().remaining > 0))
    }

    /// Whether it had something to send, and the socket took no more, or took a part.
    pub(super) fn is_held_up(&self) -> bool {
        self.half_sent || (self.held_up && self.pipe.is_some())
    }

    fn takes_remote(&self) -> bool {
        !self.from_remote.ended && self.from_remote.is_empty()
    }

    /// Whether something is awaited from the host.
    pub(super) fn wants_remote(&self) -> bool {
        self.takes_remote() || !self.from_local.is_empty() || self.awaits_close()
    }

    /// Whether the host's closing of the channel is awaited.
    pub(super) fn awaits_close(&self) -> bool {
        self.pipe.is_none() || self.from_remote.told
    }

    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.sides()?;
        self.pipe.as_ref().map(fd)
    }

    /// What to watch on the local side; `None` where nothing there can matter.
    pub(super) fn sides(&self) -> Option<Sides> {
        self.pipe.as_ref()?;
        let sides = Sides { read: !self.from_local.ended && self.from_local.is_empty(), write: !self.from_remote.is_empty() };
        // After the end from the host a hang-up is no news, but poll(2) would report it for ever.
        (sides.read || sides.write || !(self.from_remote.told || self.hung_up)).then_some(sides)
    }
}

fn would_block(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(-37)
}
