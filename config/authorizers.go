package config

// StandardAuthorizer is the one value of authorizer.class.name that there is, besides
// none: ACLs from the metadata log (org.apache.kafka.metadata.authorizer).
const StandardAuthorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

// KeepsACLsInZooKeeper reports whether class is one of Kafka's authorizers whose ACLs
// are znodes, below /kafka-acl and /kafka-acl-extended.
func KeepsACLsInZooKeeper(class string) bool {
	return class == "kafka.security.authorizer.AclAuthorizer" || class == "kafka.security.auth.SimpleAclAuthorizer"
}
