package config

// replicaKeys: replication between brokers.
var replicaKeys = []Key{
	{Name: "num.replica.fetchers", Type: Int, Default: is("1"), Valid: atLeast(1), Importance: High, Scopes: ScopeNode | ScopeCluster | ScopeBroker, Effect: OnBroker, Doc: "Fetchers that a broker runs for each other broker."},
	{Name: "num.replica.alter.log.dirs.threads", Type: Int, Default: unset, Importance: High, Scopes: ScopeNode, Effect: Accepted, Doc: "Moves of replicas between directories that run at one time."},
	{Name: "replica.lag.time.max.ms", Type: Long, Default: is("30000"), Importance: High, Scopes: ScopeNode, Effect: OnBroker, Doc: "Time behind the leader after which a follower leaves the ISR."},
	{Name: "replica.fetch.max.bytes", Type: Int, Default: is("1048576"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Bytes that a follower asks for per partition."},
	{Name: "replica.fetch.min.bytes", Type: Int, Default: is("1"), Importance: High, Scopes: ScopeNode, Effect: OnBroker, Doc: "Bytes that a leader collects before it answers a follower."},
	{Name: "replica.fetch.wait.max.ms", Type: Int, Default: is("500"), Importance: High, Scopes: ScopeNode, Effect: OnBroker, Doc: "Longest wait of a follower's fetch."},
	{Name: "replica.fetch.response.max.bytes", Type: Int, Default: is("10485760"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Bytes that a follower asks for in one reply."},
	{Name: "replica.fetch.backoff.ms", Type: Int, Default: is("1000"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Pause of a follower after a failed fetch."},
	{Name: "replica.socket.timeout.ms", Type: Int, Default: is("30000"), Importance: High, Scopes: ScopeNode, Effect: OnBroker, Doc: "Socket timeout of follower fetches."},
	{Name: "replica.socket.receive.buffer.bytes", Type: Int, Default: is("65536"), Importance: High, Scopes: ScopeNode, Effect: Accepted, Doc: "Receive buffer of follower fetches."},
	{Name: "replica.high.watermark.checkpoint.interval.ms", Type: Long, Default: is("5000"), Importance: High, Scopes: ScopeNode, Effect: OnBroker, Doc: "Time between two writes of the high watermarks."},
	{Name: "replica.selector.class", Type: String, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "How the replica is picked that a consumer reads from: its leader, or one in the consumer's rack. Other Java classes are refused."},
	{Name: "fetch.purgatory.purge.interval.requests", Type: Int, Default: is("1000"), Importance: Medium, Scopes: ScopeNode, Effect: Accepted, Doc: "Requests after which finished waits of Fetch are swept."},
	{Name: "producer.purgatory.purge.interval.requests", Type: Int, Default: is("1000"), Importance: Medium, Scopes: ScopeNode, Effect: Accepted, Doc: "Requests after which finished waits of Produce are swept."},
	{Name: "delete.records.purgatory.purge.interval.requests", Type: Int, Default: is("1"), Importance: Medium, Scopes: ScopeNode, Effect: Accepted, Doc: "Requests after which finished waits of DeleteRecords are swept."},
	{Name: "share.fetch.purgatory.purge.interval.requests", Type: Int, Default: is("1000"), Importance: Medium, Scopes: ScopeNode, Effect: Accepted, Doc: "Requests after which finished waits of ShareFetch are swept."},
	{Name: "follower.fetch.last.tiered.offset.enable", Type: Boolean, Default: is("false"), Importance: Medium, Scopes: ScopeNode | ScopeCluster | ScopeBroker, Effect: RefusedOnBroker, Doc: "Lets an empty follower begin at the last offset that remote storage holds."},
}
