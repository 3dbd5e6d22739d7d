//! What every call is wrapped in (`ttrpc.Request`, `ttrpc.Response`, `google.rpc.Status`).

/// A call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Request {
    /// The full name of the service.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The encoded request.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// How long the server may take, in nanoseconds; 0 is without end.
    #[prost(int64, tag = "4")]
    pub timeout_nanos: i64,
    /// Like the headers of HTTP.
    #[prost(message, repeated, tag = "5")]
    pub metadata: Vec<Pair>,
}

/// One entry of the metadata.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pair {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Response {
    /// How it went; none is well.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// The encoded answer.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// How a call went.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// A code of gRPC; 0 is well.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For users.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The codes of gRPC that something here depends on.
pub mod code {
    /// A service or method that the server has not.
    pub const UNIMPLEMENTED: i32 = 12;
    /// What was sent cannot be read.
    pub const INVALID_ARGUMENT: i32 = 3;
}
