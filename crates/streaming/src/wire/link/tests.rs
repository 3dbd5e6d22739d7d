use std::task::{Context, Poll, Waker};

use tokio::io::AsyncReadExt as _;

use super::*;

/// The bytes of all packets, one after the other, whenever a sender is dropped.
#[tokio::test]
async fn a_sender_that_is_dropped_half_way_leaves_no_half_packet() {
    let (ours, mut theirs) = tokio::io::duplex(10);
    let (_read, write) = tokio::io::split(ours);
    let link = Link::new(write, Layer::Plain, Activity::new());
    {
        let mut packet = Packet::of(b"a packet of 24 bytes....");
        let mut sending = std::pin::pin!(link.send(&mut packet));
        let pending = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(pending, Poll::Pending), "ten bytes fit");
    }
    {
        // Of this one nothing was sent.
        let mut packet = Packet::of(b"never");
        let mut sending = std::pin::pin!(link.send(&mut packet));
        assert!(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let send = async {
        link.send(&mut Packet::of(b"next")).await.unwrap();
        link.finish().await.unwrap();
    };
    let mut all = Vec::new();
    let (read, ()) = tokio::join!(theirs.read_to_end(&mut all), send);
    read.unwrap();
    assert_eq!(String::from_utf8_lossy(&all), "a packet of 24 bytes....next");
}

#[tokio::test]
async fn the_end_waits_for_the_rest_of_a_packet() {
    let (ours, mut theirs) = tokio::io::duplex(4);
    let (_read, write) = tokio::io::split(ours);
    let link = Link::new(write, Layer::Plain, Activity::new());
    {
        let mut packet = Packet::of(b"eight...");
        let mut sending = std::pin::pin!(link.send(&mut packet));
        assert!(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let mut all = Vec::new();
    let (read, ended) = tokio::join!(theirs.read_to_end(&mut all), link.finish());
    ended.unwrap();
    read.unwrap();
    assert_eq!(all, b"eight...");
}
