//! Opening one channel, step by step, without blocking.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ssh2::{Channel, ErrorCode, Session};
use tokio::sync::oneshot;

use super::line::{Exited, Line};
use super::pump::Broken;

const EAGAIN: i32 = -37;
/// Codes of libssh2.h with which the session itself is over.
const FATAL: [i32; 4] = [-1, -7, -13, -43];

/// What is to be opened.
pub(super) enum Purpose {
    /// A process of the remote shell; its end is reported.
    Exec(String, oneshot::Sender<Exited>),
    /// A Unix domain socket on the host.
    Socket(String),
    /// A channel that does nothing.
    Anchor,
}

/// A channel that is being opened for someone.
pub(super) struct Opening {
    purpose: Purpose,
    /// The thread's end of the socket pair, and the flag that marks a clean end of what comes from the host.
    local: Option<(UnixStream, Arc<AtomicBool>)>,
    reply: Option<oneshot::Sender<Result<(), String>>>,
    channel: Option<Channel>,
    /// Whether libssh2 holds state of this opening, so that it must be seen through to its end.
    begun: bool,
}

/// How far an opening got.
pub(super) enum Opened {
    /// Not there yet.
    Pending,
    /// Refused or no longer wanted; the one who asked has been told.
    Refused,
    /// The anchor, unless it was refused.
    Anchor(Option<Channel>),
    /// A line to be pumped.
    Line(Box<Line>),
}

impl Opening {
    pub(super) fn new(
        purpose: Purpose,
        local: UnixStream,
        clean: Arc<AtomicBool>,
        reply: oneshot::Sender<Result<(), String>>,
    ) -> Self {
        Self { purpose, local: Some((local, clean)), reply: Some(reply), channel: None, begun: false }
    }

    pub(super) fn anchor() -> Self {
        Self { purpose: Purpose::Anchor, local: None, reply: None, channel: None, begun: false }
    }

    /// Takes the next step.
    pub(super) fn advance(&mut self, session: &Session) -> Result<Opened, Broken> {
        if !self.begun && self.reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
            return Ok(Opened::Refused);
        }
        self.begun = true;
        let mut channel = match self.channel.take() {
            Some(channel) => channel,
            None => match self.open(session) {
                Ok(channel) => channel,
                Err(error) => return self.failed(&error, None),
            },
        };
        if let Purpose::Exec(command, _) = &self.purpose
            && let Err(error) = channel.exec(command)
        {
            return self.failed(&error, Some(channel));
        }
        Ok(self.finish(channel))
    }

    fn open(&self, session: &Session) -> Result<Channel, ssh2::Error> {
        match &self.purpose {
            Purpose::Exec(..) | Purpose::Anchor => session.channel_session(),
            Purpose::Socket(path) => session.channel_direct_streamlocal(path, None),
        }
    }

    fn failed(&mut self, error: &ssh2::Error, channel: Option<Channel>) -> Result<Opened, Broken> {
        match error.code() {
            ErrorCode::Session(EAGAIN) => {
                self.channel = channel;
                return Ok(Opened::Pending);
            }
            ErrorCode::Session(code) if FATAL.contains(&code) => return Err(error.into()),
            _ => {}
        }
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error.message().to_owned()));
        }
        Ok(match (channel, &self.purpose) {
            (Some(channel), _) => Opened::Line(Box::new(Line::closing(channel))),
            (None, Purpose::Anchor) => Opened::Anchor(None),
            (None, _) => Opened::Refused,
        })
    }

    fn finish(&mut self, channel: Channel) -> Opened {
        let Some(((pipe, clean), reply)) = self.local.take().zip(self.reply.take()) else {
            return Opened::Anchor(Some(channel));
        };
        let exit = match std::mem::replace(&mut self.purpose, Purpose::Anchor) {
            Purpose::Exec(_, exit) => Some(exit),
            Purpose::Socket(_) | Purpose::Anchor => None,
        };
        // Whoever asked may have gone meanwhile; then the socket pair is hung up and the line closes by itself.
        let _ = reply.send(Ok(()));
        Opened::Line(Box::new(Line::new(channel, pipe, clean, exit)))
    }
}
