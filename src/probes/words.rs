//! The closed sets of words that a round is told with.

use serde::{Serialize, Serializer};

/// Declares a closed set of words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every word of the set.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it is written everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words!(
    /// Why a round did not succeed; the set is bounded, so that it can be a metric's label.
    Reason {
        /// The name does not resolve.
        Dns = "dns",
        /// The connection was refused.
        Refused = "refused",
        /// The host cannot be reached.
        Unreachable = "unreachable",
        /// The round took longer than its timeout.
        Timeout = "timeout",
        /// The connection was closed or reset in mid-exchange.
        Reset = "reset",
        /// The TLS handshake failed, or came to less than is asked for.
        Tls = "tls",
        /// A certificate is not trusted, not valid, not valid for long enough, or for another name.
        Certificate = "certificate",
        /// The proxy refused.
        Proxy = "proxy",
        /// The redirects lead too far, round in a circle, or nowhere.
        Redirect = "redirect",
        /// The answer has another status.
        Status = "status",
        /// A header is not as expected.
        Header = "header",
        /// The body is not as expected.
        Body = "body",
        /// What stands in the JSON of a body is not as expected.
        Json = "json",
        /// The expression of the expectation is not true.
        Rule = "rule",
        /// The content is too old.
        Age = "age",
        /// The answer is too large to be judged, or not of the size that is expected.
        Size = "size",
        /// Sending failed.
        Send = "send",
        /// What came back is not as expected.
        Expect = "expect",
        /// The other side does not speak the protocol.
        Protocol = "protocol",
        /// The DNS answer has another response code or other flags.
        Rcode = "rcode",
        /// The records of a DNS answer are not as expected.
        Records = "records",
        /// The DNS servers do not agree on the serial of the zone.
        Serial = "serial",
        /// The gRPC service says that it is not serving, or does not know the service.
        Serving = "serving",
        /// Too many echo requests were not answered.
        Loss = "loss",
        /// An answer came over too many hops.
        Ttl = "ttl",
        /// A packet was too large for the path.
        Mtu = "mtu",
        /// An assertion of the script does not hold.
        Assert = "assert",
        /// It succeeded where a failure is expected.
        Success = "success",
        /// It took longer than allowed.
        Latency = "latency",
        /// Our own resolver is in trouble.
        Resolver = "resolver",
        /// We are out of descriptors, ports or memory.
        Exhausted = "exhausted",
        /// We have no way to the network.
        Network = "network",
        /// A secret of ours cannot be had: its file is in trouble, or the server that gives tokens.
        Secret = "secret",
        /// The address must not be probed.
        Forbidden = "forbidden",
        /// This system does not allow or know what the probe needs.
        Unsupported = "unsupported",
        /// The script is broken: it throws, or takes more than it may.
        Script = "script",
    }
);

impl Reason {
    /// Whether the trouble is ours: it says nothing about the target.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(
            self,
            Self::Resolver
                | Self::Exhausted
                | Self::Network
                | Self::Secret
                | Self::Forbidden
                | Self::Unsupported
                | Self::Script
        )
    }

    /// Whether a prober that has lost its way out would see this of a healthy target: such a failure
    /// can be explained by a self-check.
    #[must_use]
    pub const fn is_about_the_way(self) -> bool {
        matches!(
            self,
            Self::Dns | Self::Unreachable | Self::Timeout | Self::Refused | Self::Reset | Self::Loss | Self::Proxy
        )
    }
}

words!(
    /// The parts of a round, in order. A kind that has no such part leaves it out.
    Phase {
        /// Name to address.
        Resolve = "resolve",
        /// The TCP handshake.
        Connect = "connect",
        /// The TLS handshake.
        Tls = "tls",
        /// Writing what is to be sent.
        Request = "request",
        /// From the last byte written to the first byte read.
        Processing = "processing",
        /// From the first byte read to the last.
        Transfer = "transfer",
    }
);

words!(
    /// What a round says about its target.
    Judgement {
        /// As expected.
        Good = "good",
        /// It answers, outside a softer limit.
        Degraded = "degraded",
        /// It fails.
        Failed = "failed",
        /// Nothing: the prober itself was in trouble.
        Trouble = "trouble",
    }
);
