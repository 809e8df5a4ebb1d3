package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ValidateBrokerName checks the name of a BROKER resource: empty for all
// brokers, or a broker id. It is all that Apache's controller checks of broker
// configs (ControllerConfigurationValidator); brokers check the values of what
// they forward.
func ValidateBrokerName(name string) error {
	if name == "" {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return &Error{Kind: InvalidRequest, Text: "Unable to parse broker name as a base 10 number."}
	}
	if id < 0 {
		return &Error{Kind: InvalidRequest, Text: "Invalid negative broker ID."}
	}
	return nil
}

// clusterListenerKeys may be set for one listener on all brokers.
var clusterListenerKeys = []string{"max.connections", "max.connection.creation.rate", "num.network.threads"}

// storeKeys can only be changed for one listener at a time
// (DynamicBrokerConfig.DYNAMIC_SECURITY_CONFIGS).
var storeKeys = []string{
	"ssl.truststore.location", "ssl.keystore.location", "ssl.truststore.type", "ssl.keystore.key", "ssl.key.password",
	"ssl.keystore.type", "ssl.keystore.certificate.chain", "ssl.keystore.password", "ssl.truststore.password", "ssl.truststore.certificates",
}

// ValidateBroker checks the dynamic configs of one broker (ScopeBroker) or of
// all brokers (ScopeCluster) as a broker does (DynamicBrokerConfig.validateConfigs).
// Names that nobody knows are allowed: they may be a plug-in's.
func ValidateBroker(scope Scope, configs map[string]string) error {
	names := slices.Sorted(maps.Keys(configs))
	static := func(name string) bool {
		k := nodeIndex[name]
		return k != nil && k.Scopes == ScopeNode && !unknownToApache(name)
	}
	if err := refuse(names, static, "Cannot update these configs dynamically"); err != nil {
		return err
	}
	store := func(name string) bool { return slices.Contains(storeKeys, name) }
	if err := refuse(names, store, "These security configs can be dynamically updated only per-listener using the listener prefix"); err != nil {
		return err
	}
	for _, name := range names {
		k, ok := Lookup(ScopeBroker, name)
		if !ok {
			continue
		}
		if _, err := k.Parse(configs[name]); err != nil {
			return err
		}
	}
	if scope == ScopeBroker {
		return nil
	}
	return refuse(names, perBroker, "Cannot update these configs at default cluster level, broker id must be specified")
}

// unknownToApache: keys outside AbstractKafkaConfig, which Apache leaves to
// plug-ins (and ours), or has no more.
func unknownToApache(name string) bool {
	_, gone := Removed(name)
	return gone || name == "super.users" || name == "allow.everyone.if.no.acl.found" || strings.HasPrefix(name, "kvorum.")
}

// perBroker: keys that have a meaning on one broker only.
func perBroker(name string) bool {
	if base := baseName(name); base != name {
		return !slices.Contains(clusterListenerKeys, base)
	}
	k := nodeIndex[name]
	return k != nil && k.Scopes&ScopeBroker != 0 && k.Scopes&ScopeCluster == 0
}

func refuse(names []string, bad func(string) bool, text string) error {
	var found []string
	for _, name := range names {
		if bad(name) {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return invalid("%s: [%s]", text, strings.Join(found, ", "))
}
