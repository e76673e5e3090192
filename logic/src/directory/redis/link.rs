//! A connection with Redis: one node, or a cluster.

use std::time::Duration;

use futures::future::try_join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, RedisError, RedisResult, Value, aio::MultiplexedConnection,
    cluster::ClusterClient, cluster_async::ClusterConnection,
};
use tokio::time::timeout;

use super::RedisOptions;

/// Time for a connection to come up, all nodes of a cluster together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why Redis does not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no answer in {}", imago_kit::bounded::in_words(*.0))]
    Silent(Duration),
    #[error("a reader has lost it")]
    Reader,
}

/// A connection that many may use at once. Cheap to clone.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

// === impl Link ===

impl Link {
    pub(super) async fn connect(options: &RedisOptions) -> Result<Self, Lost> {
        let connect = async {
            if options.is_cluster {
                let client = ClusterClient::builder(options.nodes.clone())
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(CONNECT_TIMEOUT)
                    .retries(2)
                    .build()?;
                return client.get_async_connection().await.map(Self::Cluster);
            }
            let node = options.nodes.first().cloned();
            let node = node.ok_or((redis::ErrorKind::InvalidClientConfig, "no node is named"))?;
            // Every wait of ours is bounded where it is.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(None);
            let client = Client::open(node)?;
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            connection.map(Self::Single)
        };
        match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(link) => Ok(link?),
            Err(_) => Err(Lost::Silent(CONNECT_TIMEOUT)),
        }
    }

    /// Sends commands together, and gives their answers in order.
    pub(super) async fn run(&self, commands: &[Cmd], within: Duration) -> Result<Vec<Value>, Lost> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        match timeout(within, self.send(commands)).await {
            Ok(answers) => Ok(answers?),
            Err(_) => Err(Lost::Silent(within)),
        }
    }

    async fn send(&self, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(connection) => {
                let mut pipeline = redis::pipe();
                for command in commands {
                    pipeline.add_command(command.clone());
                }
                pipeline.query_async(&mut connection.clone()).await
            }
            // Commands of one pipeline would have to be for one slot. Sent at once they share the
            // connections with their nodes just as well.
            Self::Cluster(connection) => {
                try_join_all(commands.iter().map(|command| {
                    let mut connection = connection.clone();
                    async move { command.query_async(&mut connection).await }
                }))
                .await
            }
        }
    }
}
