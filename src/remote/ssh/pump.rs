//! The thread that owns a session: opens channels, carries bytes between them and local socket pairs, sleeps in poll(2).
//!
//! Started by [`super::Ssh::connect`]; nothing else may touch the libssh2 session, which has one lock and one send buffer.
//! Four habits of libssh2 shape the code:
//!
//! * Opening keeps its state in the session, so channels are opened one at a time, each to its end.
//! * A packet that the socket took only in part blocks all other sending until the same call is repeated. So nothing is sent
//!   before poll(2) calls the socket writable, and a channel with such a packet is not let go of before it has gone out.
//! * Any call may take packets for *other* channels off the socket. Whether the thread may sleep is therefore decided by what
//!   the channels hold, not by the socket alone.
//! * Reads of different sizes on one channel can lose data; see `line`.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Session};

use super::line::{Line, Sides};
use super::opening::{Opened, Opening};

/// How often a session looks again while channels are about to close or open: libssh2 cannot be asked whether the packet that
/// one waits for was already taken off the socket on behalf of another.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long data may wait on an idle session before a channel is opened just to read it. sshd's own patience is counted in
/// seconds; right after a login there always is some, and the first command must not queue behind the anchor.
const UNREAD: Duration = Duration::from_millis(500);

/// What the async side asks of the thread.
pub(super) enum Command {
    /// Open a channel.
    Open(Opening),
    /// No handle is left; end once the channels are done.
    Release,
}

/// Why the session cannot go on.
#[derive(Debug)]
pub(super) struct Broken(pub String);

impl From<&ssh2::Error> for Broken {
    fn from(error: &ssh2::Error) -> Self {
        Self(error.message().to_owned())
    }
}

/// The thread's state.
pub(super) struct Pump {
    session: Session,
    socket: TcpStream,
    bell: OwnedFd,
    commands: Receiver<Command>,
    lost: Arc<OnceLock<String>>,
    released: bool,
    lines: BTreeMap<u64, Line>,
    next_line: u64,
    queue: VecDeque<Opening>,
    /// Keeps an otherwise idle session answering sshd's keepalive requests: libssh2 reads only on behalf of a channel.
    anchor: Anchor,
}

enum Anchor {
    NotNeeded,
    /// Data waits for a reader since then; a command that comes soon reads it in passing.
    Due(Instant),
    Opening,
    Held(ssh2::Channel),
    Refused,
}

impl Pump {
    pub(super) fn new(
        session: Session,
        socket: TcpStream,
        bell: OwnedFd,
        commands: Receiver<Command>,
        lost: Arc<OnceLock<String>>,
    ) -> Self {
        session.set_blocking(false);
        Self {
            session,
            socket,
            bell,
            commands,
            lost,
            released: false,
            lines: BTreeMap::new(),
            next_line: 0,
            queue: VecDeque::new(),
            anchor: Anchor::NotNeeded,
        }
    }

    /// Runs until every handle is gone and every channel done, or until the connection breaks.
    pub(super) fn run(mut self) {
        let end = loop {
            self.take_commands();
            let ended = match self.turn() {
                Ok(ended) => ended,
                Err(broken) => break Some(broken),
            };
            if self.released && self.lines.is_empty() && self.queue.is_empty() {
                break None;
            }
            let slept = if ended { self.sleep() } else { self.wait_writable() };
            if let Err(broken) = slept {
                break Some(broken);
            }
        };
        match end {
            None => {
                let _ = self.session.disconnect(None, "done", None);
            }
            // Set before the lines are dropped: whoever then reads the end of a stream finds the reason.
            Some(Broken(reason)) => {
                let _ = self.lost.set(reason);
            }
        }
        // libssh2 says goodbye to each channel that it frees, and would wait for answers.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn take_commands(&mut self) {
        // The bell is drained first: a command that comes in later rings again.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        loop {
            match self.commands.try_recv() {
                Ok(Command::Open(opening)) => self.queue.push_back(opening),
                Ok(Command::Release) | Err(TryRecvError::Disconnected) => {
                    self.released = true;
                    break;
                }
                Err(TryRecvError::Empty) => break,
            }
        }
    }

    /// Moves whatever can be moved now; false when it broke off because the socket took no more. That has to be told: by the time the
    /// socket is asked again it may have room, and whoever was left out would be waited for by nobody.
    fn turn(&mut self) -> Result<bool, Broken> {
        loop {
            let mut moved = false;
            let keys: Vec<u64> = self.lines.keys().copied().collect();
            for key in keys {
                if !self.writable()? {
                    return Ok(false);
                }
                let Some(line) = self.lines.get_mut(&key) else { continue };
                moved |= line.pump(&self.session, &self.socket)?;
                if line.is_done() {
                    self.lines.remove(&key);
                    moved = true;
                }
            }
            if !self.writable()? {
                return Ok(false);
            }
            self.pull_for_anchor()?;
            moved |= self.open()?;
            if !moved && !self.lines.values().any(Line::has_input) {
                return Ok(!self.lines.values().any(Line::is_held_up));
            }
            self.take_commands();
        }
    }

    /// Advances the one opening that is under way.
    fn open(&mut self) -> Result<bool, Broken> {
        let Some(opening) = self.queue.front_mut() else { return Ok(false) };
        match opening.advance(&self.session)? {
            Opened::Pending => return Ok(false),
            Opened::Refused => {}
            Opened::Anchor(channel) => self.anchor = channel.map_or(Anchor::Refused, Anchor::Held),
            Opened::Line(line) => {
                self.lines.insert(self.next_line, *line);
                self.next_line += 1;
            }
        }
        self.queue.pop_front();
        Ok(true)
    }

    fn pull_for_anchor(&mut self) -> Result<(), Broken> {
        if let Anchor::Held(channel) = &mut self.anchor {
            match std::io::Read::read(channel, &mut [0; 64]) {
                Ok(0) if channel.eof() => self.anchor = Anchor::Refused,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Broken(error.to_string())),
            }
        }
        Ok(())
    }

    fn writable(&self) -> Result<bool, Broken> {
        writable(&self.socket)
    }

    /// Waits until something can be moved again.
    fn sleep(&mut self) -> Result<(), Broken> {
        // sshd gathers small packets until the last one is acknowledged (Nagle) unless the session has run a command, and this
        // side would delay that by 40 ms. The kernel forgets the wish now and then, so it is repeated.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.socket, true);
        if !self.writable()? {
            // The local sides are left out: their data could not go anywhere, and would end the wait for ever.
            return self.wait_writable();
        }
        let mut socket = PollFlags::empty();
        let idle = self.lines.is_empty() && self.queue.is_empty();
        if matches!(self.anchor, Anchor::Held(_)) || !self.queue.is_empty() || self.lines.values().any(Line::wants_remote) {
            socket |= PollFlags::IN;
        } else if idle {
            // Nobody reads, so data that is known of would end the sleep for ever; a closed connection must.
            socket |= if matches!(self.anchor, Anchor::NotNeeded) { PollFlags::IN } else { PollFlags::RDHUP };
        } else if matches!(self.anchor, Anchor::Due(_)) {
            self.anchor = Anchor::NotNeeded;
        }
        if matches!(self.session.block_directions(), BlockDirections::Outbound | BlockDirections::Both) {
            socket |= PollFlags::OUT;
        }
        let closing = self.lines.values().filter(|line| line.awaits_close()).count();
        let limit = match self.anchor {
            Anchor::Due(since) if idle => Some(UNREAD.saturating_sub(since.elapsed())),
            // Whoever else reads may have taken what one of them waits for off the socket after it was asked.
            _ => (closing + usize::from(!self.queue.is_empty()) > 0 && self.readers() > 1).then_some(LOOK_AGAIN),
        };
        self.wait(socket, limit, idle)
    }

    /// Everyone on whose behalf libssh2 takes packets off the socket.
    fn readers(&self) -> usize {
        self.lines.len() + usize::from(!self.queue.is_empty()) + usize::from(matches!(self.anchor, Anchor::Held(_)))
    }

    fn wait_writable(&self) -> Result<(), Broken> {
        let mut fds = [PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.socket, PollFlags::OUT)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Broken(errno.to_string())),
        }
    }

    fn wait(&mut self, socket: PollFlags, limit: Option<Duration>, idle: bool) -> Result<(), Broken> {
        let limit = limit.map(|limit| Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) });
        let watched: Vec<(u64, Sides)> = self.lines.iter().filter_map(|(key, line)| Some((*key, line.sides()?))).collect();
        let mut hung_up = Vec::new();
        let state = {
            let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.socket, socket)];
            fds.extend(
                self.lines.values().filter_map(|line| Some(PollFd::from_borrowed_fd(line.pipe()?, line.sides()?.flags()))),
            );
            match poll(&mut fds, limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Broken(errno.to_string())),
            }
            for ((key, _), fd) in watched.iter().zip(&fds[2..]) {
                if fd.revents().intersects(PollFlags::HUP | PollFlags::ERR) {
                    hung_up.push(*key);
                }
            }
            fds[1].revents()
        };
        for key in hung_up {
            if let Some(line) = self.lines.get_mut(&key) {
                line.hung_up();
            }
        }
        if idle && state.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return Err(Broken("the host closed the connection".into()));
        }
        match self.anchor {
            Anchor::NotNeeded if idle && state.contains(PollFlags::IN) => self.anchor = Anchor::Due(Instant::now()),
            Anchor::Due(since) if idle && since.elapsed() >= UNREAD => {
                self.anchor = Anchor::Opening;
                self.queue.push_back(Opening::anchor());
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the socket takes a packet now. Linux calls a TCP socket writable while a third of its send buffer is free.
pub(super) fn writable(socket: &TcpStream) -> Result<bool, Broken> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(Broken(errno.to_string())),
    }
}

/// A file descriptor as poll(2) wants it.
pub(super) fn fd(pipe: &std::os::unix::net::UnixStream) -> std::os::fd::BorrowedFd<'_> {
    pipe.as_fd()
}
