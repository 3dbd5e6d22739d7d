//! Against the shim's end of the socket pair.

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use tokio::io::AsyncReadExt;

use super::*;

fn attached_to() -> (Streams, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::io::ioctl_fionbio(&ours, true).unwrap();
    (serve(ours, true).unwrap(), theirs)
}

/// The next packet of the client, which may be empty; None at the end of the connection.
async fn packet(shim: &OwnedFd) -> Option<Vec<u8>> {
    let shim = shim.try_clone().unwrap();
    let received = tokio::task::spawn_blocking(move || {
        rustix::net::sockopt::set_socket_passcred(&shim, true).unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; MAX_PACKET];
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        let got =
            rustix::net::recvmsg(&shim, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
        let said = got > 0 || control.drain().next().is_some();
        bytes.truncate(got);
        said.then_some(bytes)
    });
    received.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_leaves_a_silent_container() {
    let (streams, shim) = attached_to();
    drop(streams);
    assert_eq!(packet(&shim).await, None, "its end, and no end of the container's input");
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_is_dropped_stays_open_and_input_that_is_shut_down_is_closed() {
    let (Streams { stdin, stdout, stderr }, shim) = attached_to();
    rustix::net::sockopt::set_socket_passcred(&shim, true).unwrap();
    let mut stdin = stdin.unwrap();
    stdin.write_all(b"word").await.unwrap();
    assert_eq!(packet(&shim).await.as_deref(), Some(&b"word"[..]));
    stdin.shutdown().await.unwrap();
    assert_eq!(packet(&shim).await.as_deref(), Some(&b""[..]));
    drop((stdin, stdout, stderr));
    assert_eq!(packet(&shim).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_of_a_client_that_goes_is_with_the_shim() {
    let (Streams { stdin, stdout, stderr }, shim) = attached_to();
    rustix::net::sockopt::set_socket_passcred(&shim, true).unwrap();
    // More than the socket holds.
    let size = 1 << 20;
    let client = tokio::spawn(async move {
        let mut stdin = stdin.unwrap();
        stdin.write_all(&vec![b'i'; size]).await.unwrap();
        drop((stdin, stdout, stderr));
    });
    let mut got = 0;
    while let Some(bytes) = packet(&shim).await {
        assert!(!bytes.is_empty(), "stdin was closed, which nobody has asked for");
        got += bytes.len();
    }
    assert_eq!(got, size);
    client.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_want_one_stream_only() {
    let (Streams { stdin, mut stdout, stderr }, shim) = attached_to();
    drop(stderr);
    for stream in [Stream::Stderr, Stream::Stdout] {
        send(&shim, &[&[stream as u8][..], b"text"].concat(), SendFlags::empty()).unwrap();
    }
    let mut got = [0; 4];
    stdout.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"text");
    drop(stdout);
    let mut stdin = stdin.unwrap();
    stdin.write_all(b"in").await.unwrap();
    let mut bytes = [0; 8];
    let shim = tokio::task::spawn_blocking(move || (recv(&shim, &mut bytes[..], RecvFlags::empty()), shim));
    let (got, shim) = shim.await.unwrap();
    assert_eq!(got.unwrap().0, 2);
    drop(stdin);
    assert_eq!(packet(&shim).await, None);
}
