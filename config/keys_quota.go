package config

// quotaKeys: quotas, metrics and plug-ins.
var quotaKeys = []Key{
	{Name: "quota.window.num", Type: Int, Default: is("11"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Samples that client quotas keep."},
	{Name: "quota.window.size.seconds", Type: Int, Default: is("1"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Length of one sample of client quotas."},
	{Name: "replication.quota.window.num", Type: Int, Default: is("11"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Samples that replication quotas keep."},
	{Name: "replication.quota.window.size.seconds", Type: Int, Default: is("1"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnBroker, Doc: "Length of one sample of replication quotas."},
	{Name: "alter.log.dirs.replication.quota.window.num", Type: Int, Default: is("11"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: RefusedOnBroker, Doc: "Samples that the quota of moves between directories keeps."},
	{Name: "alter.log.dirs.replication.quota.window.size.seconds", Type: Int, Default: is("1"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: RefusedOnBroker, Doc: "Length of one sample of the quota of moves between directories."},
	{Name: "controller.quota.window.num", Type: Int, Default: is("11"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnController, Doc: "Samples that the controller mutation quota keeps."},
	{Name: "controller.quota.window.size.seconds", Type: Int, Default: is("1"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: OnController, Doc: "Length of one sample of the controller mutation quota."},
	{Name: "client.quota.callback.class", Type: Class, Default: unset, Importance: Low, Scopes: ScopeNode, Effect: Refused, Doc: "Java class that decides client quotas."},
	{Name: "config.providers", Type: List, Default: is(""), Valid: listOf(emptyAllowed), Importance: Low, Scopes: ScopeNode | ScopeCluster | ScopeBroker, Effect: Refused, Doc: "Java classes that fill in ${...} in this file."},
	{Name: "metric.reporters", Type: List, Default: is("org.apache.kafka.common.metrics.JmxReporter"), Valid: listOf(emptyAllowed), Importance: Low, Scopes: ScopeNode | ScopeCluster | ScopeBroker, Effect: Refused, Doc: "Java classes that report metrics; kvorum serves Prometheus metrics at kvorum.metrics.listener."},
	{Name: "metrics.num.samples", Type: Int, Default: is("2"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Doc: "Samples that Apache's metrics keep."},
	{Name: "metrics.recording.level", Type: String, Default: is("INFO"), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Doc: "Level of detail of Apache's metrics."},
	{Name: "metrics.sample.window.ms", Type: Long, Default: is("30000"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Doc: "Length of one sample of Apache's metrics."},
	{Name: "kafka.metrics.polling.interval.secs", Type: Int, Default: is("10"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Doc: "Interval of Apache's CSV metrics reporter."},
	{Name: "kafka.metrics.reporters", Type: List, Default: is(""), Valid: listOf(emptyAllowed), Importance: Low, Scopes: ScopeNode, Effect: Refused, Doc: "Java classes that report the old kind of metrics."},
	{Name: "telemetry.max.bytes", Type: Int, Default: is("1048576"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Doc: "Largest push of client metrics that is taken."},
	{Name: "leader.replication.throttled.rate", Type: Long, Default: is("9223372036854775807"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeCluster | ScopeBroker, Effect: OnBroker, Doc: "Bytes per second that a leader sends to throttled replicas."},
	{Name: "follower.replication.throttled.rate", Type: Long, Default: is("9223372036854775807"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeCluster | ScopeBroker, Effect: OnBroker, Doc: "Bytes per second that a follower fetches for throttled replicas."},
	{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, Default: is("9223372036854775807"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeCluster | ScopeBroker, Effect: OnBroker, Doc: "Bytes per second for moves of replicas between directories."},
}
