package config

// clientMetricsKeys are the keys of a client metrics subscription
// (ClientMetricsConfigs).
var clientMetricsKeys = []Key{
	{Name: "metrics", Type: List, Default: is(""), Valid: listOf(emptyAllowed), Importance: Medium, Scopes: ScopeClientMetrics, Doc: "Prefixes of the names of the metrics that clients push; * is all."},
	{Name: "interval.ms", Type: Int, Default: is("300000"), Importance: Medium, Scopes: ScopeClientMetrics, Doc: "Time between two pushes of a client's metrics."},
	{Name: "match", Type: List, Default: is(""), Valid: listOf(emptyAllowed), Importance: Medium, Scopes: ScopeClientMetrics, Doc: "Which clients are meant, as selector=regular expression,...."},
}
