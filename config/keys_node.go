package config

// identityKeys: who this node is, and the quorum it belongs to.
var identityKeys = []Key{
	{Name: "process.roles", Type: List, Default: required, Valid: listOf(notEmpty, "broker", "controller"), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Roles of this process: controller, broker, or both in one process."},
	{Name: "node.id", Type: Int, Default: required, Valid: atLeast(0), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Id of this node; unique among all controllers and brokers of the cluster."},
	{Name: "broker.id", Type: Int, Default: is("-1"), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Old name of node.id. If both are set they must be equal."},
	{Name: "broker.rack", Type: String, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Rack of a broker, used to spread replicas."},
	{Name: "controller.listener.names", Type: List, Default: required, Valid: listOf(notEmpty), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Names of the listeners on which controllers speak; the first one is the one that brokers use."},
	{Name: "controller.quorum.voters", Type: List, Default: is(""), Valid: votersValid{}, Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "The controllers as id@host:port,...; with kraft.version 0 this is the voter set that brokers hold."},
	{Name: "controller.quorum.bootstrap.servers", Type: List, Default: is(""), Valid: bootstrapValid{}, Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Addresses (host:port,...) at which the quorum can be discovered."},
	{Name: "controller.quorum.election.timeout.ms", Type: Int, Default: is("1000"), Valid: atLeast(0), Importance: High, Scopes: ScopeNode, Effect: Refused, Instead: "kvorum.raft.rtt.ms and kvorum.raft.election.ticks", Doc: "Time that a KRaft candidate waits for votes."},
	{Name: "controller.quorum.election.backoff.max.ms", Type: Int, Default: is("1000"), Valid: atLeast(0), Importance: High, Scopes: ScopeNode, Effect: Refused, Instead: "kvorum.raft.rtt.ms and kvorum.raft.election.ticks", Doc: "Longest pause of a KRaft candidate after a split vote."},
	{Name: "controller.quorum.fetch.timeout.ms", Type: Int, Default: is("2000"), Valid: atLeast(0), Importance: High, Scopes: ScopeNode, Effect: Refused, Instead: "kvorum.raft.rtt.ms and kvorum.raft.election.ticks", Doc: "Time without a fetch after which a KRaft follower campaigns."},
	{Name: "controller.quorum.request.timeout.ms", Type: Int, Default: is("2000"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Time that a node waits for a reply of the quorum before it retries."},
	{Name: "controller.quorum.retry.backoff.ms", Type: Int, Default: is("20"), Valid: atLeast(0), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Pause before a request to the quorum is repeated."},
	{Name: "controller.quorum.append.linger.ms", Type: Int, Default: is("25"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeNode, Effect: Refused, Doc: "Time for which an Apache leader collects appends into a batch; kvorum batches what is waiting and adds no delay."},
	{Name: "controller.quorum.auto.join.enable", Type: Boolean, Default: is("false"), Importance: Low, Scopes: ScopeNode, Effect: Refused, Doc: "Lets an Apache controller add itself to the voters when it starts."},
	{Name: "controller.quorum.fetch.max.bytes", Type: Int, Default: is("1048576"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Most bytes that a fetching node asks for in one Fetch of the metadata log."},
	{Name: "controller.quorum.fetch.snapshot.max.bytes", Type: Int, Default: is("1048576"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Most bytes that a fetching node asks for in one FetchSnapshot."},
	{Name: "initial.broker.registration.timeout.ms", Type: Int, Default: is("60000"), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Time within which a starting broker must be registered, or it gives up."},
	{Name: "broker.heartbeat.interval.ms", Type: Int, Default: is("2000"), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Doc: "Time between the heartbeats of a broker."},
	{Name: "broker.session.timeout.ms", Type: Int, Default: is("9000"), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Doc: "Time without a heartbeat after which the active controller fences a broker."},
	{Name: "server.max.startup.time.ms", Type: Long, Default: is("9223372036854775807"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeNode, Effect: OnBroker, Internal: true, Doc: "Time after which a broker that has not finished starting gives up."},
	{Name: "unstable.api.versions.enable", Type: Boolean, Default: is("false"), Importance: High, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Announces API versions that are not released yet."},
	{Name: "unstable.feature.versions.enable", Type: Boolean, Default: is("false"), Importance: High, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Allows feature levels that are not released yet."},
}
