package config

// groupKeys are the keys of a group, in the order in which Apache checks them
// (GroupConfig.CONFIG_DEF).
var groupKeys = []Key{
	{Name: "consumer.session.timeout.ms", Type: Int, Default: is("45000"), Valid: atLeast(1), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.consumer.session.timeout.ms"}}, Doc: "Time without a heartbeat after which a consumer is taken out of the group."},
	{Name: "consumer.heartbeat.interval.ms", Type: Int, Default: is("5000"), Valid: atLeast(1), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.consumer.heartbeat.interval.ms"}}, Doc: "Time between the heartbeats of a consumer."},
	{Name: "consumer.assignment.interval.ms", Type: Int, Default: is("1000"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.consumer.assignment.interval.ms"}}, Doc: "Shortest time between two assignments of a consumer group."},
	{Name: "share.session.timeout.ms", Type: Int, Default: is("45000"), Valid: atLeast(1), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.share.session.timeout.ms"}}, Doc: "Time without a heartbeat after which a share consumer is taken out of the group."},
	{Name: "share.heartbeat.interval.ms", Type: Int, Default: is("5000"), Valid: atLeast(1), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.share.heartbeat.interval.ms"}}, Doc: "Time between the heartbeats of a share consumer."},
	{Name: "share.record.lock.duration.ms", Type: Int, Default: is("30000"), Valid: atLeast(1000), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.share.record.lock.duration.ms"}}, Doc: "Time for which a share consumer owns a record that it was given."},
	{Name: "share.delivery.count.limit", Type: Int, Default: is("5"), Valid: atLeast(2), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.share.delivery.count.limit"}}, Doc: "Times that a record is given to share consumers."},
	{Name: "share.partition.max.record.locks", Type: Int, Default: is("2000"), Valid: atLeast(100), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.share.partition.max.record.locks"}}, Doc: "Records of one partition that share consumers may own at one time."},
	{Name: "share.auto.offset.reset", Type: String, Default: is("latest"), Valid: offsetReset{}, Importance: Medium, Scopes: ScopeGroup, Doc: "Where a share group begins: earliest, latest, or by_duration: and an ISO 8601 duration."},
	{Name: "share.isolation.level", Type: String, Default: is("read_uncommitted"), Valid: oneOf("read_committed", "read_uncommitted"), Importance: Medium, Scopes: ScopeGroup, Doc: "Whether a share group sees records of open transactions."},
	{Name: "share.renew.acknowledge.enable", Type: Boolean, Default: is("true"), Importance: Medium, Scopes: ScopeGroup, Doc: "Lets share consumers extend the time for which they own a record."},
	{Name: "share.assignment.interval.ms", Type: Int, Default: is("1000"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.share.assignment.interval.ms"}}, Doc: "Shortest time between two assignments of a share group."},
	{Name: "streams.session.timeout.ms", Type: Int, Default: is("45000"), Valid: atLeast(1), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.streams.session.timeout.ms"}}, Doc: "Time without a heartbeat after which a streams member is taken out of the group."},
	{Name: "streams.heartbeat.interval.ms", Type: Int, Default: is("5000"), Valid: atLeast(1), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.streams.heartbeat.interval.ms"}}, Doc: "Time between the heartbeats of a streams member."},
	{Name: "streams.num.standby.replicas", Type: Int, Default: is("0"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.streams.num.standby.replicas"}}, Doc: "Standby copies of each task."},
	{Name: "streams.initial.rebalance.delay.ms", Type: Int, Default: is("3000"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.streams.initial.rebalance.delay.ms"}}, Doc: "Time for which a new streams group waits for more members."},
	{Name: "streams.assignment.interval.ms", Type: Int, Default: is("1000"), Valid: atLeast(0), Importance: Medium, Scopes: ScopeGroup, Fallback: []Fallback{{Name: "group.streams.assignment.interval.ms"}}, Doc: "Shortest time between two assignments of a streams group."},
}
