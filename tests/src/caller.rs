//! Which process is at the other end of a connection, as Linux tells it (proc(5)): the one that a fault kills.

use std::fs;
use std::net::SocketAddr;

/// The process that holds the socket at this address of ours.
#[must_use]
pub fn of(peer: SocketAddr) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(peer.port())?);
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.into_iter().find(|process| holds(*process, &socket))
}

/// Column 2 of `/proc/net/tcp` is the local address as `0100007F:1F90`, column 10 the inode of the socket.
fn inode(port: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(columns.get(1)?.split(':').nth(1)?, 16).ok()?;
        (local == port).then(|| columns.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    })
}

fn holds(process: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.filter_map(|file| fs::read_link(file.ok()?.path()).ok()).any(|target| target.as_os_str() == socket)
}
