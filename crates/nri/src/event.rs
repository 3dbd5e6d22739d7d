//! Which calls a plugin wants: a bit for each, and the method that each is. Pure.

use crate::api::Event;

/// The calls that a plugin wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events(u32);

/// Bits of calls that NRI does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the plugin subscribes to events that there are not: {0:#x}")]
pub struct UnknownEvents(pub u32);

fn bit(event: Event) -> u32 {
    u32::try_from(event as i32).map_or(0, |number| 1 << number.saturating_sub(1))
}

impl Events {
    /// All of them.
    pub const ALL: Self = Self((1 << (Event::Last as i32 - 1)) - 1);

    /// Those of an answer to Configure, in which none at all stands for all of them.
    ///
    /// # Errors
    /// There are others.
    pub fn of(answer: i32) -> Result<Self, UnknownEvents> {
        let bits = answer.cast_unsigned();
        match bits & !Self::ALL.0 {
            0 if bits == 0 => Ok(Self::ALL),
            0 => Ok(Self(bits)),
            unknown => Err(UnknownEvents(unknown)),
        }
    }

    /// Whether this is one of them.
    pub fn has(self, event: Event) -> bool {
        self.0 & bit(event) != 0
    }
}

/// The method of a plugin that is called.
pub fn method(event: Event) -> &'static str {
    match event {
        Event::RunPodSandbox => "RunPodSandbox",
        Event::StopPodSandbox => "StopPodSandbox",
        Event::RemovePodSandbox => "RemovePodSandbox",
        Event::CreateContainer => "CreateContainer",
        Event::PostCreateContainer => "PostCreateContainer",
        Event::StartContainer => "StartContainer",
        Event::PostStartContainer => "PostStartContainer",
        Event::UpdateContainer => "UpdateContainer",
        Event::PostUpdateContainer => "PostUpdateContainer",
        Event::StopContainer => "StopContainer",
        Event::RemoveContainer => "RemoveContainer",
        Event::UpdatePodSandbox => "UpdatePodSandbox",
        Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
        Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        Event::Unknown | Event::Last => "StateChange",
    }
}

#[cfg(test)]
mod tests;
