//! Whether a registry takes credentials, before they are kept.

use http::{Method, StatusCode};

use super::resolve::Source;
use super::write::{self, Payload, Write};
use super::{Registry, RegistryError, Tried, send};
use crate::credentials::{Keyring, RequestAuth};
use berth_types::reference::{ImageRef, Parsed};

impl Registry {
    /// Asks the registry `name`, a host as references name it, whether it takes these credentials. One that asks for none takes all.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub async fn login(&self, name: &str, auth: RequestAuth) -> Result<(), RegistryError> {
        let malformed = || RegistryError::NoHost {
            what: format!("log in to {name:?}"),
            registry: name.to_owned(),
            action: "be logged in to: it is no registry's name",
        };
        // No repository is meant; a token's scope is then what the registry's challenge says.
        let Ok(Parsed::Full(reference)) = ImageRef::parse(&format!("{name}/x")) else {
            return Err(malformed());
        };
        let source = Source::new(self, reference, Keyring { request: Some(auth), files: None })?;
        let host = source.own_host().ok_or_else(malformed)?;
        let tried = |error| RegistryError::AllHosts {
            what: format!("log in to {name}"),
            tried: vec![Tried { host: host.to_string(), error }],
        };
        let text = format!("{}/", send::base(host));
        let uri = text.parse().map_err(|_| malformed())?;
        let ask = Write { method: Method::GET, uri: &uri, content_type: None, payload: &Payload::Empty };
        let response = write::write(&source, host, &ask).await.map_err(tried)?;
        match response.status() {
            // Some have nothing at the root of the API.
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(tried(write::refusal(&source, host, response).await)),
        }
    }
}
