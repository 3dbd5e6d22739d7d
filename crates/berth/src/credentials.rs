//! Credentials for pulls, read where the user is.
//!
//! The command line reads docker's and podman's files, since they belong to the user's environment (`HOME`,
//! `DOCKER_CONFIG`, the helpers on `PATH` and what those need); the daemon's environment is another one. What is sent
//! is only what the registry of each image is to be shown, and the daemon keeps none of it
//! (docs/adr/0021-credentials.md).

use berth_image::credentials::{CredentialFiles, Credentials, Environment};
use berth_pod::manifest;
use berth_types::ImageRef;
use berth_types::error::chain;
use berth_types::reference::Parsed;

use crate::api;
use crate::client::Reach;
use crate::output::note;

/// Reads credentials from the user's files.
#[derive(Debug)]
pub(crate) struct Reader {
    files: CredentialFiles,
    /// Hosts that complete short names, as the daemon of this machine is configured.
    short_name_hosts: Vec<String>,
}

impl Reader {
    /// For this user, and this instance's short names.
    pub(crate) fn of(reach: &Reach) -> Self {
        let settings = reach.settings();
        Self {
            files: CredentialFiles::standard(&Environment::from_process()),
            short_name_hosts: settings.map(|s| s.short_name_hosts).unwrap_or_default(),
        }
    }

    /// What the files have for `image`. A failing file or helper is reported, and the pull is tried without it: most images are
    /// public.
    pub(crate) async fn image(&self, image: &str) -> Option<api::ImageAuth> {
        for reference in self.meant(image) {
            match self.files.lookup(reference.host(), reference.path()).await {
                Ok(Credentials::Anonymous) => {}
                Ok(credentials) => return Some(message(image, reference.host(), credentials)),
                Err(e) => note(format_args!(
                    "berth: no credentials are used for {}: {}",
                    reference.host(),
                    chain(&e)
                )),
            }
        }
        None
    }

    /// What the files have for the images of a manifest; nothing for one that the daemon will refuse.
    pub(crate) async fn manifest(&self, text: &[u8]) -> Vec<api::ImageAuth> {
        self.manifests(&[("", text)]).await
    }

    /// The same for a manifest of several files.
    pub(crate) async fn manifests(&self, files: &[(&str, &[u8])]) -> Vec<api::ImageAuth> {
        let manifest = manifest::parse_files(files).unwrap_or_default();
        let containers =
            manifest.all_pods().flat_map(|pod| pod.spec.init_containers.iter().chain(&pod.spec.containers));
        let mut images: Vec<&str> = containers.map(|container| container.image.as_str()).collect();
        images.sort_unstable();
        images.dedup();
        let mut auths = Vec::new();
        for image in images {
            auths.extend(self.image(image).await);
        }
        auths
    }

    fn meant(&self, image: &str) -> Vec<ImageRef> {
        match ImageRef::parse(image) {
            Ok(Parsed::Full(reference)) => vec![reference],
            Ok(Parsed::Short(short)) => {
                self.short_name_hosts.iter().filter_map(|host| short.on_host(host).ok()).collect()
            }
            Err(_) => Vec::new(),
        }
    }
}

fn message(image: &str, server: &str, credentials: Credentials) -> api::ImageAuth {
    let mut auth =
        api::ImageAuth { image: image.to_owned(), server: server.to_owned(), ..api::ImageAuth::default() };
    match credentials {
        Credentials::Anonymous => {}
        Credentials::Basic { username, password } => {
            auth.username = username;
            password.expose().clone_into(&mut auth.password);
        }
        Credentials::IdentityToken(token) => token.expose().clone_into(&mut auth.identity_token),
        Credentials::RegistryToken(token) => token.expose().clone_into(&mut auth.registry_token),
    }
    auth
}

#[cfg(test)]
mod tests;
