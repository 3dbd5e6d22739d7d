//! `--filter`: which containers `berth ps` lists.

use anyhow::{Context, bail};

use crate::api;

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Name(String),
    Id(String),
    Pod(String),
    Status(String),
    Label(String, Option<String>),
    Ancestor(String),
    Exited(i32),
}

/// docker's words for states, and Berth's.
const STATES: &[(&str, &[&str])] = &[
    ("created", &["created", "being created"]),
    ("running", &["running"]),
    ("paused", &["paused"]),
    ("exited", &["exited"]),
    ("stopping", &["stopping"]),
    ("removing", &["being removed"]),
];

impl std::str::FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (key, value) = text.split_once('=').context("expected KEY=VALUE")?;
        let value = value.to_owned();
        Ok(match key {
            "name" => Self::Name(value),
            "id" => Self::Id(value),
            "pod" => Self::Pod(value),
            "status" => {
                if value != "restarting" && !STATES.iter().any(|(state, _)| *state == value) {
                    bail!(
                        "status={value}: expected created, running, paused, restarting, exited, stopping or removing"
                    );
                }
                Self::Status(value)
            }
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            "ancestor" => Self::Ancestor(value),
            "exited" => Self::Exited(value.parse().context("exited: expected an exit status")?),
            other => bail!(
                "{other:?} is not supported: only name, id, pod, status, label, ancestor and exited are"
            ),
        })
    }
}

impl Filter {
    /// Whether the container is one of these.
    fn takes(&self, pod: &api::Pod, container: &api::Container) -> bool {
        match self {
            Self::Name(part) => {
                let part = part.trim_start_matches('^').trim_end_matches('$').trim_start_matches('/');
                container.name.contains(part) || pod.name.contains(part)
            }
            Self::Id(start) => container.id.starts_with(start),
            Self::Pod(pod_name) => pod.name == *pod_name || pod.id.starts_with(pod_name),
            Self::Status(word) if word == "restarting" => container.again,
            Self::Status(word) => {
                let states = STATES.iter().find(|(state, _)| state == word).map(|(_, states)| *states);
                states.is_some_and(|states| states.contains(&container.state.as_str())) && !container.again
            }
            Self::Label(key, value) => {
                pod.labels.get(key).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
            }
            Self::Ancestor(image) => {
                container.image == *image
                    || container.image.ends_with(&format!("/{image}"))
                    || container.image.ends_with(&format!("/{image}:latest"))
                    || container.image_id.trim_start_matches("sha256:").starts_with(image)
            }
            Self::Exited(code) => container.state == "exited" && container.exit_code == *code,
        }
    }

    /// As docker: of one kind any may hold, of each kind one must.
    pub(super) fn all_take(filters: &[Self], pod: &api::Pod, container: &api::Container) -> bool {
        let kind = |filter: &Self| std::mem::discriminant(filter);
        filters.iter().all(|one| {
            // Labels must all be there.
            if matches!(one, Self::Label(..)) {
                return one.takes(pod, container);
            }
            filters.iter().filter(|other| kind(other) == kind(one)).any(|other| other.takes(pod, container))
        })
    }

    /// Whether it asks for what has ended.
    pub(super) fn wants_ended(&self) -> bool {
        match self {
            Self::Exited(_) => true,
            Self::Status(word) => word != "running" && word != "paused",
            Self::Name(_) | Self::Id(_) | Self::Pod(_) | Self::Label(..) | Self::Ancestor(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(filters: &[&str]) -> bool {
        let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
        let pod = api::Pod {
            name: "web".into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..api::Pod::default()
        };
        let container = api::Container {
            id: "0123".into(),
            name: "server".into(),
            image: "docker.io/library/nginx:latest".into(),
            state: "exited".into(),
            exit_code: 3,
            ..api::Container::default()
        };
        Filter::all_take(&filters, &pod, &container)
    }

    #[test]
    fn they_choose_as_dockers() {
        for (filters, takes) in [
            (&[][..], true),
            (&["name=serv"], true),
            (&["name=^/web$"], true),
            (&["name=other"], false),
            (&["name=other", "name=web"], true),
            (&["name=web", "status=running"], false),
            (&["status=exited", "exited=3"], true),
            (&["exited=0"], false),
            (&["label=a"], true),
            (&["label=a=b", "label=c"], false),
            (&["ancestor=nginx"], true),
            (&["ancestor=ngin"], false),
            (&["id=012", "pod=web"], true),
        ] {
            assert_eq!(taken(filters), takes, "{filters:?}");
        }
        for text in ["name", "colour=red", "status=odd", "exited=x"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
