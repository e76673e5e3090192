//! Ports for servers that are stopped and started again.

use tokio::net::TcpSocket;

/// Ports of 127.0.0.1 that nobody gets but who asks for their numbers, whether a server listens there or
/// not: else a connection of somebody else could have one as its own while the server is down, for any
/// time. The system lets a server bind a port that is held, since both say `SO_REUSEADDR` and no other
/// listens (socket(7)).
#[derive(Debug)]
pub(crate) struct HeldPorts<const N: usize> {
    pub(crate) numbers: [u16; N],
    _sockets: [TcpSocket; N],
}

impl<const N: usize> HeldPorts<N> {
    /// Ports from the system, all different.
    pub(crate) fn new() -> Self {
        let sockets = [(); N].map(|()| {
            let socket = TcpSocket::new_v4().expect("a socket can be made");
            socket.set_reuseaddr(true).expect("a new socket may share its port");
            socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
            socket
        });
        let number = |socket: &TcpSocket| socket.local_addr().map(|address| address.port());
        let numbers = sockets.each_ref().map(|socket| number(socket).expect("it is bound"));
        Self { numbers, _sockets: sockets }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_held_port_refuses_connections_until_a_server_listens_there_and_again_after() {
        let held = HeldPorts::<1>::new();
        let address = ("127.0.0.1", held.numbers[0]);
        for _ in 0..2 {
            assert!(TcpStream::connect(address).await.is_err());
            let server = TcpListener::bind(address).await.unwrap();
            assert!(TcpStream::connect(address).await.is_ok());
            drop(server);
        }
    }

    #[tokio::test]
    async fn a_held_port_is_given_to_nobody_else() {
        let held = HeldPorts::<1>::new();
        let socket = TcpSocket::new_v4().unwrap();
        let bound = socket.bind(([127, 0, 0, 1], held.numbers[0]).into());
        assert!(bound.is_err(), "who does not share ports gets another");
    }
}
