//! PAX extended headers (POSIX.1-2001, pax interchange format).

use super::sparse::PaxSparse;

/// What the records of one header, or the globals so far, say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<PaxSparse>,
    any: bool,
}

impl Records {
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Adds the records of the header of one entry.
    pub(crate) fn parse(&mut self, body: &[u8]) -> Result<(), String> {
        self.any = true;
        each(body, |key, value| self.set(key, value))
    }

    /// Adds the records of a global header. Sizes, attributes and sparse maps belong to one entry only.
    pub(crate) fn parse_global(&mut self, body: &[u8]) -> Result<(), String> {
        each(body, |key, value| match key {
            b"path" | b"linkpath" | b"uid" | b"gid" | b"mtime" => self.set(key, value),
            b"size" => Err("a global size".into()),
            _ if key.starts_with(b"GNU.sparse.") || key.starts_with(XATTR) => {
                Err("a global header with what belongs to one entry".into())
            }
            _ => Ok(()),
        })
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = given.then(|| decimal(value, "size")).transpose()?,
            b"uid" => self.uid = given.then(|| id(value, "uid")).transpose()?,
            b"gid" => self.gid = given.then(|| id(value, "gid")).transpose()?,
            b"mtime" => self.mtime = given.then(|| time(value)).transpose()?,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.add_xattr(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().set(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn add_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err("an extended attribute with a bad name".into());
        }
        if self.xattrs.len() >= MAX_XATTRS {
            return Err(format!("more than {MAX_XATTRS} extended attributes"));
        }
        if self.xattrs.iter().any(|(known, _)| known == name) {
            return Err("a duplicate extended attribute".into());
        }
        if value.len() > MAX_XATTR {
            return Err(format!(
                "an extended attribute of {} bytes, at most {MAX_XATTR} are allowed",
                value.len()
            ));
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// The most attributes of an entry: more than any file system's worth of an image has.
const MAX_XATTRS: usize = 128;
/// The most bytes of one (kernel: include/uapi/linux/limits.h, XATTR_SIZE_MAX).
const MAX_XATTR: usize = 64 << 10;
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Calls `set` for each record: `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn each(mut body: &[u8], mut set: impl FnMut(&[u8], &[u8]) -> Result<(), String>) -> Result<(), String> {
    while !body.is_empty() {
        let space = body.iter().take(8).position(|b| *b == b' ').ok_or("a PAX record without a length")?;
        let length = usize::try_from(decimal(&body[..space], "length")?).map_err(|_| "a PAX length")?;
        if length <= space + 1 || length > body.len() || body[length - 1] != b'\n' {
            return Err("a PAX record with a wrong length".into());
        }
        let record = &body[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or("a PAX record without '='")?;
        if equals == 0 {
            return Err("a PAX record without a key".into());
        }
        set(&record[..equals], &record[equals + 1..])?;
        body = &body[length..];
    }
    Ok(())
}

/// A number of decimal digits.
pub(crate) fn decimal(text: &[u8], what: &str) -> Result<u64, String> {
    let bad = || format!("the PAX {what} is not a number");
    if text.is_empty() {
        return Err(bad());
    }
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
            .filter(|v| *v <= i64::MAX.cast_unsigned())
            .ok_or_else(|| format!("the PAX {what} is out of range")),
        _ => Err(bad()),
    })
}

fn id(text: &[u8], what: &str) -> Result<u32, String> {
    u32::try_from(decimal(text, what)?).map_err(|_| format!("the PAX {what} is out of range"))
}

/// Seconds since 1970 with a fraction: nanoseconds are kept, finer digits dropped.
fn time(text: &[u8]) -> Result<(i64, u32), String> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let seconds = decimal(parts.next().unwrap_or_default(), "mtime")?.cast_signed();
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next() {
        if fraction.iter().any(|b| !b.is_ascii_digit()) {
            return Err("the PAX mtime is not a number".into());
        }
        let mut digits = [b'0'; 9];
        let length = fraction.len().min(9);
        digits[..length].copy_from_slice(&fraction[..length]);
        nanoseconds = u32::try_from(decimal(&digits, "mtime")?).expect("nine digits");
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}
