//! Finds the process at the other end of a connection, which a fault kills, in Linux's `/proc`
//! (proc(5)).

use std::fs;
use std::net::SocketAddr;

/// Returns the id of the process at `peer` of a connection to `us`.
#[must_use]
pub fn of(peer: SocketAddr, us: SocketAddr) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(peer.port(), us.port())?);
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.into_iter().find(|process| holds(*process, &socket))
}

/// Returns the inode of the socket. Columns 2 and 3 of `/proc/net/tcp` are the addresses of both
/// ends as `0100007F:1F90`, column 10 is the inode. One port may have several connections, so both
/// ends are compared.
fn inode(from: u16, to: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let port = |column: usize| u16::from_str_radix(columns.get(column)?.split(':').nth(1)?, 16).ok();
        (port(1) == Some(from) && port(2) == Some(to)).then(|| columns.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    })
}

fn holds(process: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.filter_map(|file| fs::read_link(file.ok()?.path()).ok()).any(|target| target.as_os_str() == socket)
}
