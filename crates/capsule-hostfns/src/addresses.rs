//! Which hosts and addresses a guest may reach, checked on the addresses that a name resolves to.
//!
//! Used by every host function that connects for a guest. What is checked and what is connected to are the same addresses:
//! a name that resolves differently the next moment gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use capsule_hdk::{Blocking, Network, Reach};

tokio::task_local! {
    /// The threads on which names are looked up for the request under way: the share of the function that sends it. A
    /// resolver that does not answer holds them for many seconds.
    pub(crate) static LOOKUPS: Blocking;
}

/// The rules of a function for one port.
///
/// - An address or a network (`10.0.0.7`, `10.0.0.0/8`) in the list allows that address and every name that resolves to it.
/// - A name (`api.example.com`, `*.example.com`, `*`) allows that host wherever it is, except for link-local and metadata
///   addresses: those have to be given as addresses.
/// - With an empty list, the function's [`Reach`] decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressPolicy {
    reach: Reach,
    /// Whether the operator gave a list; `reach` means nothing then.
    listed: bool,
    names: Vec<Name>,
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Any,
    Exact(String),
    /// With the dot in front.
    Suffix(String),
}

/// A network: the addresses that share the first `prefix` bits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    address: IpAddr,
    prefix: u8,
}

/// A host that the guest may not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    host: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "this module may not reach host `{}` (flag `--allowHosts`)", self.host)
    }
}

impl std::error::Error for Refused {}

impl AddressPolicy {
    /// The rules of `network` for connections to `port`. An entry that cannot be read allows nothing.
    pub(crate) fn new(network: &Network, port: u16) -> AddressPolicy {
        let mut policy = AddressPolicy {
            reach: network.reach,
            listed: !network.allowed.is_empty(),
            names: Vec::new(),
            blocks: Vec::new(),
        };
        for entry in &network.allowed {
            let (host, only) = split_port(entry.trim());
            if only.is_some_and(|only| only != port) {
                continue;
            }
            match Block::parse(host) {
                Some(block) => policy.blocks.push(block),
                None => policy.names.push(Name::parse(host)),
            }
        }
        policy
    }

    /// Everything: for addresses that the operator gave.
    #[cfg(feature = "redis")]
    pub(crate) fn operator() -> AddressPolicy {
        let any = |address: IpAddr| Block { address, prefix: 0 };
        let blocks = vec![any(Ipv4Addr::UNSPECIFIED.into()), any(Ipv6Addr::UNSPECIFIED.into())];
        AddressPolicy { reach: Reach::Operator, listed: true, names: Vec::new(), blocks }
    }

    /// The addresses of `host` that may be connected to, with `port`: all of an allowed host's, or those that are allowed.
    ///
    /// # Errors
    /// [`Refused`] when there is none, or the resolver's error.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.check_host(host).map_err(std::io::Error::other)?;
        let mut addresses = look_up(host, port).await?;
        if addresses.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
        }
        addresses.retain(|address| self.permits(host, address.ip()));
        if addresses.is_empty() {
            return Err(std::io::Error::other(Refused { host: host.into() }));
        }
        Ok(addresses)
    }

    /// Refuses what needs no resolver to refuse: an address, or a name that nothing in the list can allow.
    pub(crate) fn check_host(&self, host: &str) -> Result<(), Refused> {
        let permitted = match literal(host) {
            Some(address) => self.permits(host, address),
            None if self.listed => self.names(host) || !self.blocks.is_empty(),
            None => self.reach != Reach::Nothing,
        };
        if permitted { Ok(()) } else { Err(Refused { host: host.into() }) }
    }

    /// Whether `address`, which `host` is or resolves to, may be connected to.
    fn permits(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.blocks.iter().any(|block| block.contains(address)) {
            return true;
        }
        if is_metadata(address) {
            return false;
        }
        match self.reach {
            _ if self.listed => self.names(host),
            Reach::Nothing => false,
            Reach::Operator => true,
            Reach::Public => is_public(address),
        }
    }

    fn names(&self, host: &str) -> bool {
        let host = plain(host);
        self.names.iter().any(|name| match name {
            Name::Any => true,
            Name::Exact(name) => *name == host,
            Name::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        })
    }
}

/// The addresses of a name, or of an address.
async fn look_up(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match LOOKUPS.try_with(Blocking::clone) {
        Err(_) => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
        Ok(share) => {
            let name = host.to_owned();
            let found = share.run(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect)).await;
            found.map_err(std::io::Error::other)?
        }
    }
}

impl Name {
    fn parse(text: &str) -> Name {
        match text.strip_prefix('*') {
            Some("") => Name::Any,
            Some(suffix) if suffix.starts_with('.') => Name::Suffix(plain(suffix)),
            _ => Name::Exact(plain(text)),
        }
    }
}

impl Block {
    fn parse(text: &str) -> Option<Block> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (literal(address)?, Some(prefix.parse().ok()?)),
            // Addresses are compared in the shorter one of two forms.
            None => (literal(text)?.to_canonical(), None),
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Block { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// `host:port`, `[v6]:port`, `network/8:port`, or one of them without port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if literal(entry).is_some()
        || entry.split_once('/').is_some_and(|(address, _)| address.contains(':') && Block::parse(entry).is_some())
    {
        return (entry, None);
    }
    match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (entry, None),
    }
}

/// An address as URLs and lists have it: IPv6 with or without brackets.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Lower case, without the dot that a complete name may end with.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Link-local addresses and those where clouds answer with credentials.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // Alibaba, Oracle and Azure have theirs outside of the link-local range.
            const OTHERS: [[u8; 4]; 3] = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
            address.is_link_local() || OTHERS.contains(&address.octets())
        }
        IpAddr::V6(address) => {
            const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
            address.is_unicast_link_local()
                || [AMAZON, GOOGLE].contains(&address)
                || embedded(address).is_some_and(|inner| is_metadata(inner.into()))
        }
    }
}

/// Addresses of the public internet: none of those that the registries of special addresses (RFC 6890) set apart.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(a == 0
                || address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || (a == 100 && (b & 0xc0) == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b & 0xfe) == 18)
                || a >= 224)
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            if let Some(inner) = embedded(address) {
                return is_public(inner.into());
            }
            // Global unicast is 2000::/3; Teredo, ORCHID and documentation are set apart within it.
            (segments[0] & 0xe000) == 0x2000
                && !(segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8))
                && (segments[0] & 0xfff0) != 0x3ff0
        }
    }
}

/// The IPv4 address that an IPv6 one leads to through a translator (64:ff9b::/96), a 6to4 relay (2002::/16), or as the old
/// compatible form (`::a.b.c.d`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(reach: Reach, allowed: &[&str], port: u16) -> AddressPolicy {
        let allowed = allowed.iter().map(|entry| (*entry).to_owned()).collect();
        AddressPolicy::new(&Network { reach, allowed }, port)
    }

    fn reaches(policy: &AddressPolicy, host: &str, address: &str) -> bool {
        policy.check_host(host).is_ok() && policy.permits(host, address.parse().unwrap())
    }

    const METADATA: [&str; 12] = [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "febf::1",
        "fd00:ec2::254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd20:ce::254",
    ];
    const PRIVATE: [&str; 20] = [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
    ];
    const PUBLIC: [&str; 7] =
        ["8.8.8.8", "172.32.0.1", "100.128.0.1", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"];

    #[test]
    fn without_a_list_the_reach_decides() {
        for (reach, public, private) in
            [(Reach::Nothing, false, false), (Reach::Public, true, false), (Reach::Operator, true, true)]
        {
            let policy = policy(reach, &[], 80);
            let table = [(&PUBLIC[..], public), (&PRIVATE, private), (&METADATA, false)];
            for (address, expected) in
                table.into_iter().flat_map(|(list, expected)| list.iter().map(move |a| (*a, expected)))
            {
                assert_eq!(reaches(&policy, address, address), expected, "{reach:?}: {address} itself");
                assert_eq!(reaches(&policy, "name.example", address), expected, "{reach:?}: a name of {address}");
            }
        }
    }

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let listed = ["api.example.com", "*.gitlab.com:443", "10.0.0.0/8", "192.168.0.7:6379", "[fd12::]/16", "::1"];
        for (host, address, port, expected) in [
            ("api.example.com", "8.8.8.8", 80, true),
            ("API.example.com.", "127.0.0.1", 8080, true),
            ("api.example.com", "169.254.169.254", 80, false),
            ("xapi.example.com", "8.8.8.8", 80, false),
            ("api.example.com.evil.com", "8.8.8.8", 80, false),
            ("a.gitlab.com", "8.8.8.8", 443, true),
            ("a.gitlab.com", "8.8.8.8", 80, false),
            ("gitlab.com", "8.8.8.8", 443, false),
            ("10.3.2.1", "10.3.2.1", 80, true),
            ("11.3.2.1", "11.3.2.1", 80, false),
            ("name.of.ten", "10.3.2.1", 80, true),
            ("name.of.eleven", "11.3.2.1", 80, false),
            ("192.168.0.7", "192.168.0.7", 6379, true),
            ("192.168.0.7", "192.168.0.7", 6380, false),
            ("[fd12::9]", "fd12::9", 80, true),
            ("[fd13::9]", "fd13::9", 80, false),
            ("[::1]", "::1", 1, true),
            ("8.8.8.8", "8.8.8.8", 80, false),
        ] {
            let policy = policy(Reach::Operator, &listed, port);
            assert_eq!(reaches(&policy, host, address), expected, "{host} at {address}:{port}");
        }
    }

    #[test]
    fn a_metadata_address_has_to_be_given_itself() {
        for address in METADATA {
            assert!(!reaches(&policy(Reach::Operator, &["*"], 80), address, address), "{address}");
            // Whatever name leads there, also one that is listed.
            for name in ["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "innocent.example"] {
                for policy in [
                    policy(Reach::Operator, &[], 80),
                    policy(Reach::Public, &[], 80),
                    policy(Reach::Operator, &["*"], 80),
                    policy(Reach::Operator, &[name], 80),
                ] {
                    assert!(!reaches(&policy, name, address), "{name} at {address}");
                }
            }
            assert!(reaches(&policy(Reach::Nothing, &[address], 80), address, address), "{address}");
        }
        assert!(reaches(&policy(Reach::Nothing, &["169.254.169.254"], 80), "169.254.169.254", "169.254.169.254"));
        assert!(reaches(&policy(Reach::Nothing, &["0.0.0.0/0"], 80), "anything", "127.0.0.1"));
        assert!(!reaches(&policy(Reach::Nothing, &["10.0.0.0/33", "a b"], 80), "10.0.0.1", "10.0.0.1"));
    }

    /// A resolver that does not answer holds the threads of the function that asks it.
    #[tokio::test]
    async fn a_function_looks_names_up_on_its_own_threads() {
        let share = || Blocking::new(tokio::runtime::Handle::current());
        let (stuck, free) = (share(), share());
        let mut releases = Vec::new();
        for _ in 0..40 {
            let (release, released) = std::sync::mpsc::channel::<()>();
            let stuck = stuck.clone();
            tokio::spawn(async move { stuck.run(move || released.recv()).await });
            releases.push(release);
        }
        tokio::task::yield_now().await;
        let mut waiting = Box::pin(LOOKUPS.scope(stuck.clone(), look_up("localhost", 80)));
        for _ in 0..10 {
            assert!(!LOOKUPS.scope(free.clone(), look_up("localhost", 80)).await.unwrap().is_empty());
            let waits =
                std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending()));
            assert!(waits.await);
        }
        // An address needs no thread.
        assert_eq!(LOOKUPS.scope(stuck, look_up("127.0.0.1", 80)).await.unwrap(), [([127, 0, 0, 1], 80).into()]);
        drop(releases);
        assert!(!waiting.await.unwrap().is_empty());
    }

    #[test]
    fn ports_stand_behind_names_addresses_and_networks() {
        for (entry, expected) in [
            ("host", ("host", None)),
            ("host:80", ("host", Some(80))),
            ("1.2.3.4:80", ("1.2.3.4", Some(80))),
            ("10.0.0.0/8:80", ("10.0.0.0/8", Some(80))),
            ("::1", ("::1", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("fd00::/8", ("fd00::/8", None)),
            ("[fd00::]/8:80", ("[fd00::]/8", Some(80))),
        ] {
            assert_eq!(split_port(entry), expected, "{entry}");
        }
    }

    proptest! {
        #[test]
        fn any_entry_is_read_without_panic(entries: Vec<String>, host: String, address: IpAddr) {
            let policy = AddressPolicy::new(&Network { reach: Reach::Public, allowed: entries }, 80);
            let _ = policy.check_host(&host);
            policy.permits(&host, address);
        }

        #[test]
        fn a_network_contains_the_addresses_that_share_its_prefix(own: u32, other: u32, prefix in 0_u8..=32) {
            let block = Block { address: Ipv4Addr::from_bits(own).into(), prefix };
            let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
            let address = Ipv4Addr::from_bits(other).into();
            prop_assert_eq!(block.contains(address), own & mask == other & mask);
        }
    }
}
