//! An archive that is written once and read by many while it grows: the engine's export on one side, compressed on all cores;
//! one reader per host on the other, each as fast as its host takes it.
//!
//! The file has no name: however this program ends, nothing of it stays.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

/// Compression level: images travel faster than level 1 compresses them only in networks beyond 1 Gbit/s.
const LEVEL: i32 = 1;
/// Bytes of one read; a multiple of what SSH packets and TLS records carry.
const CHUNK: usize = 512 * 1024;
/// Chunks of the export that wait for the compressor.
const BACKLOG: usize = 64;

/// How far the archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Growth {
    /// So many bytes can be read, more will come.
    Growing(u64),
    /// So many bytes are all.
    Complete(u64),
    /// It will never be complete.
    Broken(String),
}

/// The archive. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    growth: watch::Receiver<Growth>,
}

/// What the compressor is sent.
enum Piece {
    Data(Bytes),
    End,
}

impl Spool {
    /// Starts to write what `source` yields, and returns at once.
    pub fn start<E>(source: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> io::Result<Self>
    where
        E: std::fmt::Display + Send + 'static,
    {
        let file = Arc::new(tempfile::tempfile()?);
        let (growing, growth) = watch::channel(Growth::Growing(0));
        let growing = Arc::new(growing);
        let (pieces, inbox) = mpsc::channel(BACKLOG);
        let broken = growing.clone();
        tokio::spawn(async move {
            let mut source = std::pin::pin!(source);
            while let Some(piece) = source.next().await {
                match piece {
                    Ok(data) => {
                        if pieces.send(Piece::Data(data)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        broken.send_replace(Growth::Broken(error.to_string()));
                        return;
                    }
                }
            }
            // Without this word the compressor takes the end of the channel for an abort.
            let _ = pieces.send(Piece::End).await;
        });
        let target = file.clone();
        spawn_blocking(move || {
            let end = match compress(inbox, &target, &growing) {
                Ok(length) => Growth::Complete(length),
                Err(error) => Growth::Broken(error.to_string()),
            };
            growing.send_if_modified(|growth| {
                let first = !matches!(growth, Growth::Broken(_));
                if first {
                    *growth = end;
                }
                first
            });
        });
        Ok(Self { file, growth })
    }

    /// Waits until it is complete; its length in bytes, `None` when it never will be.
    pub async fn complete(mut self) -> Option<u64> {
        let end = self.growth.wait_for(|growth| !matches!(growth, Growth::Growing(_))).await.ok()?;
        match *end {
            Growth::Complete(length) => Some(length),
            _ => None,
        }
    }

    /// Reads it from the beginning to the end; waits where it has not been written yet.
    pub fn read(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
        stream::try_unfold((self.clone(), 0_u64), |(mut spool, at)| async move {
            let end = spool.readable_beyond(at).await?;
            if end <= at {
                return Ok(None);
            }
            let length = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
            let file = spool.file.clone();
            let chunk = spawn_blocking(move || {
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
            });
            let chunk = chunk.await.map_err(io::Error::other)??;
            Ok(Some((chunk, (spool, at + length as u64))))
        })
    }

    /// Waits for bytes behind `at`; returns the end of what can be read, `at` itself at the archive's end.
    async fn readable_beyond(&mut self, at: u64) -> io::Result<u64> {
        let ready = self.growth.wait_for(|growth| !matches!(growth, Growth::Growing(end) if *end <= at)).await;
        match ready.as_deref() {
            Ok(Growth::Growing(end) | Growth::Complete(end)) => Ok(*end),
            Ok(Growth::Broken(reason)) => Err(io::Error::other(reason.clone())),
            Err(_) => Err(io::Error::other("the export was abandoned")),
        }
    }
}

/// Compresses until the end is announced; returns the archive's length.
fn compress(mut inbox: mpsc::Receiver<Piece>, file: &File, growing: &watch::Sender<Growth>) -> io::Result<u64> {
    let mut encoder = zstd::stream::write::Encoder::new(Tail { file, growing, length: 0 }, LEVEL)?;
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    encoder.multithread(cores)?;
    loop {
        match inbox.blocking_recv() {
            Some(Piece::Data(data)) => encoder.write_all(&data)?,
            Some(Piece::End) => return Ok(encoder.finish()?.length),
            None => return Err(io::Error::other("the export was abandoned")),
        }
    }
}

/// The end of the file, which tells readers how far it has come.
struct Tail<'a> {
    file: &'a File,
    growing: &'a watch::Sender<Growth>,
    length: u64,
}

impl Write for Tail<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(data, self.length)?;
        self.length += data.len() as u64;
        self.growing.send_if_modified(|growth| {
            let alive = matches!(growth, Growth::Growing(_));
            if alive {
                *growth = Growth::Growing(self.length);
            }
            alive
        });
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    async fn collect(stream: impl Stream<Item = io::Result<Bytes>>) -> io::Result<Vec<u8>> {
        stream
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
    }

    /// Three megabytes that do not compress to nothing.
    fn data() -> Vec<u8> {
        (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[tokio::test]
    async fn every_reader_gets_all_of_it() {
        let pieces: Vec<_> = data().chunks(70_000).map(|c| Ok::<_, io::Error>(Bytes::copy_from_slice(c))).collect();
        let spool = Spool::start(stream::iter(pieces)).expect("starts");
        let (packed, second) = tokio::join!(collect(spool.read()), collect(spool.read()));
        let packed = packed.expect("reads");
        assert_eq!(zstd::decode_all(&packed[..]).expect("unpacks"), data());
        assert_eq!(second.expect("reads"), packed);
        assert_eq!(spool.complete().await, Some(packed.len() as u64));
    }

    #[tokio::test]
    async fn half_an_export_is_an_error_for_every_reader() {
        let pieces = vec![Ok(Bytes::from(data())), Err(io::Error::other("the engine went away"))];
        let spool = Spool::start(stream::iter(pieces)).expect("starts");
        assert_eq!(collect(spool.read()).await.expect_err("broken").to_string(), "the engine went away");
        assert_eq!(spool.complete().await, None);
    }
}
