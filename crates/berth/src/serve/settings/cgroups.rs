//! Who manages cgroups, and where this instance has its own.

use berth_engine::seams::Slice;

use super::{CgroupDriver, SettingsError, invalid};

/// Who manages cgroups, and where this instance has its own under each manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroups {
    pub(crate) driver: berth_engine::CgroupDriver,
    pub(crate) root: String,
    pub(crate) slice: String,
}

impl Cgroups {
    /// What an instance has unless it says otherwise. No instance has a `_` in its name, so that no two share a slice.
    pub(super) fn of(instance: &str) -> Self {
        let driver = berth_engine::CgroupDriver::Auto;
        match instance {
            "" => Self { driver, root: "/berth".to_owned(), slice: "berth.slice".to_owned() },
            name => Self {
                driver,
                root: format!("/berth-{name}"),
                slice: format!("berth_{}.slice", name.replace('-', "_")),
            },
        }
    }

    /// With what was given. A root in the form of one manager leaves the choice of the other out.
    pub(super) fn given(
        self,
        driver: Option<CgroupDriver>,
        root: Option<String>,
    ) -> Result<Self, SettingsError> {
        let Some(root) = root else { return Ok(Self { driver: chosen(driver), ..self }) };
        if root.ends_with(".slice") && driver != Some(CgroupDriver::Cgroupfs) {
            let slice = Slice::parse(&root).map_err(|why| invalid("cgroup-root", &root, &why))?;
            return Ok(Self { driver: berth_engine::CgroupDriver::Systemd, slice: slice.name(), ..self });
        }
        if driver == Some(CgroupDriver::Systemd) {
            return Err(invalid(
                "cgroup-root",
                &root,
                "the systemd driver needs a slice, such as berth.slice",
            ));
        }
        if !root.starts_with('/') || root.split('/').any(|part| part == "..") || root.len() < 2 {
            return Err(invalid("cgroup-root", &root, "expected a path below / without .., or a slice"));
        }
        Ok(Self { driver: berth_engine::CgroupDriver::Cgroupfs, root, ..self })
    }

    /// Those of a running daemon, as it tells them.
    pub(crate) fn adopt(&mut self, driver: &str, root: String) {
        if driver == "systemd" {
            self.driver = berth_engine::CgroupDriver::Systemd;
            self.slice = root;
        } else {
            self.driver = berth_engine::CgroupDriver::Cgroupfs;
            self.root = root;
        }
    }
}

fn chosen(driver: Option<CgroupDriver>) -> berth_engine::CgroupDriver {
    match driver {
        None | Some(CgroupDriver::Auto) => berth_engine::CgroupDriver::Auto,
        Some(CgroupDriver::Cgroupfs) => berth_engine::CgroupDriver::Cgroupfs,
        Some(CgroupDriver::Systemd) => berth_engine::CgroupDriver::Systemd,
    }
}

#[cfg(test)]
mod tests;
