//! The floor's ring: many sends per system call, silent when they succeed.

use io_uring::{IoUring, opcode, squeue, types};
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

/// Sends per enter.
const BATCH: usize = 256;

pub struct Ring {
    ring: IoUring,
}

impl Ring {
    /// Needs Linux 6.1 and leave to use io_uring.
    pub fn new() -> io::Result<Ring> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(BATCH as u32)?;
        Ok(Ring { ring })
    }

    /// Sends `bytes` to every socket without waiting for any. Those that did not take all of it are appended to
    /// `short` with the number of bytes they took. After an error the ring must not be used again.
    pub fn send_to_all(
        &mut self,
        sockets: &[RawFd],
        bytes: &[u8],
        short: &mut Vec<(RawFd, usize)>,
    ) -> io::Result<()> {
        for chunk in sockets.chunks(BATCH) {
            self.send(chunk.iter().map(|&fd| (fd, bytes)), short)?;
        }
        Ok(())
    }

    /// Sends each socket its part of `bytes`; otherwise as `send_to_all`.
    pub fn send_to_each(
        &mut self,
        parts: &[(RawFd, Range<usize>)],
        bytes: &[u8],
        short: &mut Vec<(RawFd, usize)>,
    ) -> io::Result<()> {
        for chunk in parts.chunks(BATCH) {
            self.send(chunk.iter().map(|(fd, part)| (*fd, &bytes[part.clone()])), short)?;
        }
        Ok(())
    }

    /// At most BATCH sends.
    fn send<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = (RawFd, &'a [u8])>,
        short: &mut Vec<(RawFd, usize)>,
    ) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let count = sends.len();
        let mut queue = self.ring.submission();
        for (fd, bytes) in sends {
            let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            let entry = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), length)
                .flags(flags)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(fd as u64);
            // SAFETY: the kernel reads `bytes` only during the enter below: with MSG_DONTWAIT a send is never
            // kept for later. The queue is empty here and holds BATCH entries. If the enter fails,
            // the ring is not entered again, so what is left in the queue is never looked at.
            unsafe { queue.push(&entry) }.map_err(|_| io::Error::other("submission queue full"))?;
        }
        drop(queue);
        let mut submitted = 0;
        while submitted < count {
            submitted += self.ring.submit()?;
        }
        for completion in self.ring.completion() {
            let sent = completion.result().max(0) as usize;
            short.push((completion.user_data() as RawFd, sent));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn sends_reach_all_and_full_sockets_are_told() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("no io_uring here: not tested");
            return;
        };
        let pairs: Vec<_> = (0..BATCH + 3).map(|_| UnixStream::pair().unwrap()).collect();
        let sockets: Vec<RawFd> = pairs.iter().map(|pair| pair.0.as_raw_fd()).collect();
        let mut short = Vec::new();
        ring.send_to_all(&sockets, b"hello", &mut short).unwrap();
        assert_eq!(short, []);
        for (_, mut reader) in pairs.iter().map(|pair| (&pair.0, &pair.1)) {
            let mut got = [0; 5];
            reader.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello");
        }
        ring.send_to_each(&[(sockets[0], 0..1), (sockets[1], 1..5)], b"hello", &mut short).unwrap();
        let mut got = [0; 4];
        (&pairs[0].1).read_exact(&mut got[..1]).unwrap();
        assert_eq!(got[0], b'h');
        (&pairs[1].1).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ello");
        assert_eq!(short, []);
        let large = vec![b'x'; 4 << 20];
        ring.send_to_all(&sockets[..1], &large, &mut short).unwrap();
        assert_eq!(short.len(), 1);
        assert!(short[0].0 == sockets[0] && short[0].1 < large.len());
        let mut got = vec![0; short[0].1];
        (&pairs[0].1).read_exact(&mut got).unwrap();
    }
}
