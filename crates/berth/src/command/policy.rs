//! `berth policy`: what holds for an image, from the files that a pull would read.

use std::path::PathBuf;
use std::process::ExitCode;

use berth_engine::image::pull::candidates;
use berth_engine::image::trust::{Place, Policy, Registries, rule_for};
use berth_types::ImageRef;

use crate::client::Reach;
use crate::output::line;
use crate::serve::settings::{Given, Layers};

/// `berth policy`
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say which rule decides about an image, without pulling it
    Check(Check),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 1 where the image is refused whatever its signatures are, and with an error \
where the policy cannot be used."
)]
struct Check {
    /// The image; without one, the policy is read and nothing asked of it
    image: Option<String>,
    /// As for a pod of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The configuration file, with the files of config.d beside it [default: /etc/berth/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl PolicyCommand {
    /// Does it, for the daemon of this instance.
    pub(crate) fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let Verb::Check(check) = self.verb;
        let flags = Given { instance: reach.instance.clone(), ..Given::default() };
        let settings = Layers::read(&flags, check.config.as_deref())?.resolve()?;
        let Some(policy) = Policy::of(&settings.trust, check.namespace.as_deref())? else {
            line(format_args!("there is no {}: every image is accepted", settings.trust.file.display()))?;
            return Ok(ExitCode::SUCCESS);
        };
        let Some(image) = check.image else {
            line(format_args!("{} can be used", policy.path.display()))?;
            return Ok(ExitCode::SUCCESS);
        };
        let mut refused = false;
        for reference in candidates(&image, &settings.short_name_hosts)? {
            refused |= told(&policy, &settings.trust, &reference)?;
        }
        Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Says what holds for an image; whether it is refused anyway.
fn told(policy: &Policy, place: &Place, reference: &ImageRef) -> anyhow::Result<bool> {
    let rule = rule_for(policy, "docker", Some(reference));
    line(format_args!("{reference}: {} in {}", rule.scope(), rule.path().display()))?;
    for (index, kind) in rule.kinds().iter().enumerate() {
        line(format_args!("  requirement {}: {kind}", index + 1))?;
    }
    if let Err(refused) = rule.before() {
        line(format_args!("  refused by requirement {}: {}", refused.number, refused.why))?;
        return Ok(true);
    }
    if !rule.needs_signatures() {
        line("  accepted")?;
        return Ok(false);
    }
    let found = Registries::read(&place.registries)?.find(reference);
    line(format_args!("  signatures: {}@sha256=.../signature-1 and on", found.lookaside))?;
    match found.attachments {
        true => line(format_args!("  signatures: {}:sha256-....sig", reference.repository()))?,
        false => line(format_args!(
            "  signatures in the registry are not looked for: no file of {} has use-sigstore-attachments: true for it",
            place.registries.display()
        ))?,
    }
    line("  accepted if they are as required: a pull decides")?;
    Ok(false)
}
