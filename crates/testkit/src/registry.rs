//! A throw-away OCI registry on a loopback port of its own.
//!
//! It serves what a test pushes into it from memory or from files, by the OCI distribution
//! specification's pull half: GET and HEAD of manifests and blobs, byte ranges, tag lists. It can
//! ask for basic or bearer authorization, speak TLS under a certificate authority of its own, and
//! misbehave on request. Every request is recorded. It ends when it is dropped.
//!
//! ```
//! use berth_testkit::image::{Compression, Format, Image, Layer};
//! let layer = Layer::new().file("hello", 0o644, "hi\n").build(Compression::Gzip).unwrap();
//! let registry = berth_testkit::Registry::start().unwrap();
//! registry.push("test/hello", "1", &Image::new(Format::Oci).layer(&layer).build());
//! let reference = format!("{}/test/hello:1", registry.host());
//! # assert!(reference.starts_with("127.0.0.1:"));
//! ```

mod auth;
mod body;
mod fault;
mod serve;
mod store;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use berth_types::Digest;

pub use auth::Auth;
pub use fault::{Fault, FaultAction, On};
pub use serve::Request;

use crate::image::{Built, Content};
use crate::{Error, Result};

/// How a registry is to behave; [`start`](Builder::start) makes it.
#[derive(Debug, Clone)]
pub struct Builder {
    address: SocketAddr,
    auth: Auth,
    tls: bool,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<serve::Shared>,
    address: SocketAddr,
    authority: Option<String>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Builder {
    /// Listens on this address instead of a free loopback port.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Asks for credentials.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Speaks TLS with a certificate for 127.0.0.1 and localhost, signed by
    /// [`Registry::authority`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Registry> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("test-registry")
            .enable_all()
            .build()
            .map_err(Error::io("start the registry's threads"))?;
        // No block_on: a test that is async itself may start a registry, too.
        let context = runtime.enter();
        let listener = std::net::TcpListener::bind(self.address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(tokio::net::TcpListener::from_std)
            .map_err(Error::io(format!("listen on {}", self.address)))?;
        drop(context);
        let address = listener.local_addr().map_err(Error::io("ask for the registry's port"))?;
        let (acceptor, authority) = match self.tls {
            true => tls::acceptor().map(|(acceptor, ca)| (Some(acceptor), Some(ca)))?,
            false => (None, None),
        };
        let shared = Arc::new(serve::Shared::new(address, self.tls, self.auth));
        runtime.spawn(serve::accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Registry { shared, address, authority, runtime: Some(runtime) })
    }
}

impl Registry {
    /// A plain registry without authorization.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// A registry with other settings.
    pub fn builder() -> Builder {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Builder { address, auth: Auth::Open, tls: false }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host part of its image references: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate authority that a TLS registry's clients must trust, as PEM.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Publishes an image or index, with everything below it, as `repository:tag`.
    pub fn push(&self, repository: &str, tag: &str, image: &Built) {
        self.store().push(repository, tag, image);
    }

    /// Puts a blob into a repository, under any digest: a wrong one must be noticed by the client.
    pub fn put_blob(&self, repository: &str, digest: &Digest, content: Content) {
        self.store().put_blob(repository, digest, content);
    }

    /// Removes a blob.
    pub fn remove_blob(&self, repository: &str, digest: &Digest) {
        self.store().remove_blob(repository, digest);
    }

    /// Removes a tag.
    pub fn untag(&self, repository: &str, tag: &str) {
        self.store().untag(repository, tag);
    }

    /// Misbehaves from now on, as the fault says. Faults are tried in the order they were added.
    pub fn fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Behaves again. Requests that are being stalled stay so until they are dropped.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Forgets every bearer token given out: clients must ask for new ones.
    pub fn revoke_tokens(&self) {
        self.shared.auth.revoke();
    }

    /// The requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        lock(&self.shared.requests).clear();
    }

    /// Writes `DIR/HOST/hosts.toml` files that make this registry the mirror of each host, in
    /// containerd's form; with TLS its certificate authority lies beside them.
    pub fn write_mirrors(&self, dir: &Path, hosts: &[&str]) -> Result<()> {
        for host in hosts {
            let dir = dir.join(host);
            std::fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
            let mut text = format!("server = \"https://{host}\"\n\n[host.\"{}\"]\n", self.url());
            text.push_str("capabilities = [\"pull\", \"resolve\"]\n");
            if let Some(authority) = &self.authority {
                let path = dir.join("ca.crt");
                std::fs::write(&path, authority).map_err(Error::io(format!("write {}", path.display())))?;
                text.push_str(&format!("ca = \"{}\"\n", path.display()));
            }
            let path = dir.join("hosts.toml");
            std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        }
        Ok(())
    }

    fn store(&self) -> MutexGuard<'_, store::Store> {
        lock(&self.shared.store)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A poisoned lock only says that another test thread panicked: the data is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
