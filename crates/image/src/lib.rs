//! Registry client, content store, unpack, snapshots, garbage collection.
