use std::time::SystemTime;

use super::Keyring;
use super::packet::packets;

proptest::proptest! {
    /// Nothing that a message or a keyring holds makes reading it panic or take more than its size.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0u8.., 0..300), first in 0x80u8..) {
        let bytes = [vec![first], bytes].concat();
        if let Ok(packets) = packets(&bytes) {
            proptest::prop_assert!(packets.iter().map(|packet| packet.body.len()).sum::<usize>() <= bytes.len());
        }
        drop(super::signed(&bytes));
        if let Ok(keyring) = Keyring::read(std::slice::from_ref(&bytes)) {
            drop(keyring.verify(&bytes, SystemTime::now()));
        }
    }

    #[test]
    fn any_signature_and_key_is_read_or_refused(bytes in proptest::collection::vec(0u8.., 0..300), hashed in 0u8..40) {
        let signature = [&[4, 0, 22, 8, 0, hashed][..], &bytes].concat();
        drop(super::Signature::read(&signature));
        for algorithm in [1, 19, 22, 27, 17] {
            let key = [&[4, 1, 2, 3, 4, algorithm][..], &bytes].concat();
            drop(super::public::PublicKey::read(&key));
        }
    }
}

#[test]
fn text_that_is_cut_off_is_no_key() {
    for text in
        ["", "hello", "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ=="]
    {
        assert!(Keyring::read(&[text.as_bytes().to_vec()]).is_err(), "{text:?}");
    }
}
