//! The headers of a stream: names and values, compressed in one stream for the whole connection with a dictionary that both
//! sides know (section 2.6.10).

use std::sync::LazyLock;

use bytes::Buf;
use flate2::{Decompress, FlushDecompress, Status};

use super::SpdyError;

/// The most that the headers of one stream may have, inflated.
const MAX: usize = 16 << 10;
/// The most headers of one stream.
const MOST: u32 = 64;

/// What the compressed stream to a client begins with: deflate with a window of 32 KiB and the dictionary, by its checksum.
pub(super) const PREFACE: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];
/// No headers: a count of zero in a block that is stored and not compressed, and the empty block of a flush, without which Go does not
/// give out the first. A reply needs no other headers, so there is nothing to keep a compressor for.
pub(super) const NO_HEADERS: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// The dictionary: first names and values with their lengths, then text without.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let counted =
        |word: &&str| [&u32::try_from(word.len()).unwrap_or(0).to_be_bytes(), word.as_bytes()].concat();
    WORDS.split(',').collect::<Vec<_>>().iter().flat_map(counted).chain(TEXT.bytes()).collect()
});

const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,\
    accept-ranges,age,allow,authorization,cache-control,connection,content-base,content-encoding,\
    content-language,content-length,content-location,content-md5,content-range,content-type,date,\
    etag,expect,expires,from,host,if-match,if-modified-since,if-none-match,if-range,if-unmodified-\
    since,last-modified,location,max-forwards,pragma,proxy-authenticate,proxy-authorization,range,\
    referer,retry-after,server,te,trailer,transfer-encoding,upgrade,user-agent,vary,via,warning,\
    www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,keep-alive,\
    origin";

const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
    Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
    charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// Names, in lower case, and values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header, by its name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(mut block: &[u8]) -> Option<Self> {
        let count = block.try_get_u32().ok().filter(|count| *count <= MOST)?;
        let mut text = || {
            let length = usize::try_from(block.try_get_u32().ok()?).ok()?;
            let (text, rest) = block.split_at_checked(length)?;
            block = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        let list =
            (0..count).map(|_| Some((text()?.to_ascii_lowercase(), text()?))).collect::<Option<_>>()?;
        block.is_empty().then_some(Self(list))
    }
}

/// Inflates the headers of a client's streams, one after the other.
#[derive(Debug, Default)]
pub(super) struct Inflater(Option<Decompress>);

impl Inflater {
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let inflated = self.inflate(block)?;
        Headers::parse(&inflated).ok_or(SpdyError::Headers)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let inflate = self.0.get_or_insert_with(|| Decompress::new(true));
        let mut out = Vec::with_capacity(1 << 10);
        loop {
            let (taken, given) = (inflate.total_in(), out.len());
            let done = match inflate.decompress_vec(block, &mut out, FlushDecompress::Sync) {
                Err(e) if e.needs_dictionary().is_some() => {
                    inflate.set_dictionary(&DICTIONARY).map_err(|_| SpdyError::Deflate)?;
                    false
                }
                Ok(Status::StreamEnd) | Err(_) => return Err(SpdyError::Deflate),
                // There is space left, so nothing more can come of this block.
                Ok(Status::Ok | Status::BufError) => out.len() < out.capacity(),
            };
            let taken = usize::try_from(inflate.total_in() - taken).unwrap_or(0);
            block = block.get(taken..).unwrap_or_default();
            if done && block.is_empty() {
                return Ok(out);
            }
            if taken == 0 && out.len() == given && out.len() < out.capacity() {
                return Err(SpdyError::Deflate);
            }
            if out.len() == out.capacity() {
                if out.len() >= MAX {
                    return Err(SpdyError::TooMuch);
                }
                out.reserve(out.len());
            }
        }
    }
}

#[cfg(test)]
mod tests;
