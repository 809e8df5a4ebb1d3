package config

// kvorumKeys: what Kafka has no key for; every name begins with kvorum.
var kvorumKeys = []Key{
	{Name: "kvorum.raft.listener", Type: String, Default: is(""), Valid: addressValid{}, Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Address (host:port) on which this controller takes Raft messages; an empty host means every interface. Not needed by a quorum of one. Outside loopback it needs kvorum.raft.tls.*."},
	{Name: "kvorum.raft.voters", Type: List, Default: is(""), Valid: votersValid{}, Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "Where the Raft listener of each controller is reached, as id@host:port,..., this node included; the same on every controller. Empty: a quorum of this node alone. A changed host or port takes effect at the next start; ids do not change."},
	{Name: "kvorum.raft.tls.certificate.file", Type: String, Default: is(""), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "PEM file with the certificate chain that this controller shows to the others. It is read at start."},
	{Name: "kvorum.raft.tls.key.file", Type: String, Default: is(""), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "PEM file with the private key of that certificate."},
	{Name: "kvorum.raft.tls.ca.file", Type: String, Default: is(""), Importance: High, Scopes: ScopeNode, Effect: OnController, Doc: "PEM file with the authority that signs controllers' certificates, and nothing else: every certificate that it has signed may be any controller."},
	{Name: "kvorum.raft.rtt.ms", Type: Int, Default: is("10"), Valid: between(1, 1000), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Doc: "Length of a Raft tick, in the order of the round trip between controllers; the same on every controller."},
	{Name: "kvorum.raft.election.ticks", Type: Int, Default: is("30"), Valid: between(5, 1000), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Doc: "Ticks without word from the leader after which a controller campaigns. At least five times kvorum.raft.heartbeat.ticks."},
	{Name: "kvorum.raft.heartbeat.ticks", Type: Int, Default: is("3"), Valid: between(1, 200), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Doc: "Ticks between the heartbeats of the leader."},
	{Name: "kvorum.metadata.propagation.max.wait.ms", Type: Int, Default: is("1000"), Valid: between(0, 60000), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Doc: "Longest time for which the reply to a change waits until every unfenced broker has applied it, so that a client finds its new topic on any broker; 0 does not wait."},
	{Name: "kvorum.controller.max.inflight", Type: Int, Default: is("1024"), Valid: between(1, 65536), Importance: Low, Scopes: ScopeNode, Effect: OnController, Doc: "Requests that may wait at the active controller for their records to commit; the next one is answered with an error that clients retry."},
	{Name: "kvorum.metrics.listener", Type: String, Default: is(""), Valid: addressValid{}, Importance: Medium, Scopes: ScopeNode, Effect: OnController, Doc: "Address (host:port) that serves /metrics for Prometheus, /health and /ready; empty for none."},
}
