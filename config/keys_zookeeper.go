package config

// zookeeperKeys: how a controller of a cluster that leaves ZooKeeper finds it
// (KIP-866). They are those of Kafka 3.9, which 4.0 removed, and Internal: no other
// cluster's nodes tell about them.
var zookeeperKeys = []Key{
	{Name: "zookeeper.metadata.migration.enable", Type: Boolean, Default: is("false"), Importance: High, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "Makes this controller one of a cluster that leaves ZooKeeper: set on all controllers, from their first start until the last broker is in KRaft mode. Taking it away ends the migration at the next election."},
	{Name: "zookeeper.connect", Type: String, Default: is(""), Importance: High, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "ZooKeeper's servers as host:port,..., with the brokers' chroot behind the last one. It does nothing without zookeeper.metadata.migration.enable."},
	{Name: "zookeeper.session.timeout.ms", Type: Int, Default: is("18000"), Valid: between(1000, 600_000), Importance: High, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "Time without word from the active controller after which ZooKeeper ends its session. It keeps nothing that ends with a session."},
	{Name: "zookeeper.connection.timeout.ms", Type: Int, Default: unset, Importance: High, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Longest wait for ZooKeeper at the start of an Apache controller; kvorum tries again and says so in its status."},
	{Name: "zookeeper.max.in.flight.requests", Type: Int, Default: is("10"), Valid: atLeast(1), Importance: High, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Requests to ZooKeeper at a time."},
	{Name: "zookeeper.metadata.migration.min.batch.size", Type: Int, Default: is("200"), Valid: atLeast(1), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Least records in a batch of Apache's copy."},
	{Name: "zookeeper.set.acl", Type: Boolean, Default: is("false"), Importance: High, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Gives the nodes that are written to ZooKeeper ACLs that only Kafka's own login may change."},
	{Name: "zookeeper.ssl.client.enable", Type: Boolean, Default: is("false"), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "Speaks TLS with ZooKeeper."},
	{Name: "zookeeper.clientCnxnSocket", Type: String, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Java class of the connection to ZooKeeper."},
	{Name: "zookeeper.ssl.truststore.location", Type: String, Default: is(""), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "PEM file with the certificates that ZooKeeper's is checked with; empty for the system's."},
	{Name: "zookeeper.ssl.truststore.type", Type: String, Default: is(""), Valid: oneOfFold("", "PEM"), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "Format of that file: PEM only (keytool -list -rfc writes it)."},
	{Name: "zookeeper.ssl.truststore.password", Type: Password, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Password of that file: PEM files have none."},
	{Name: "zookeeper.ssl.keystore.location", Type: String, Default: is(""), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "PEM file with the private key and the certificates that this controller shows to ZooKeeper; empty for none."},
	{Name: "zookeeper.ssl.keystore.type", Type: String, Default: is(""), Valid: oneOfFold("", "PEM"), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "Format of that file: PEM only."},
	{Name: "zookeeper.ssl.keystore.password", Type: Password, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Password of that file: the key must not be encrypted."},
	{Name: "zookeeper.ssl.protocol", Type: String, Default: is("TLSv1.2"), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "TLS version with ZooKeeper: the newest that both know, 1.2 at least."},
	{Name: "zookeeper.ssl.enabled.protocols", Type: List, Default: unset, Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "TLS versions with ZooKeeper."},
	{Name: "zookeeper.ssl.cipher.suites", Type: List, Default: unset, Importance: Low, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Ciphers with ZooKeeper."},
	{Name: "zookeeper.ssl.endpoint.identification.algorithm", Type: String, Default: is("HTTPS"), Importance: Low, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Check that ZooKeeper's certificate is of the host that was asked for."},
	{Name: "zookeeper.ssl.crl.enable", Type: Boolean, Default: is("false"), Importance: Low, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Looks for revoked certificates in lists."},
	{Name: "zookeeper.ssl.ocsp.enable", Type: Boolean, Default: is("false"), Importance: Low, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Asks whether certificates are revoked."},
	{Name: "kvorum.zookeeper.digest.file", Type: String, Default: is(""), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "File with USER:PASSWORD of ZooKeeper's digest scheme; empty for no login. It is read at start."},
	{Name: "kvorum.migration.start", Type: String, Default: is("automatic"), Valid: oneOf("automatic", "command"), Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "When the controllers claim ZooKeeper: automatic is as soon as the last broker has registered, as Apache's do; command waits for kvorum migrate start. Give it to all controllers."},
	{Name: "password.encoder.secret", Type: Password, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: OnController, Internal: true, Doc: "The brokers' password.encoder.secret, with which passwords among their dynamic configs are encrypted in ZooKeeper."},
	{Name: "password.encoder.old.secret", Type: Password, Default: unset, Importance: Medium, Scopes: ScopeNode, Effect: Refused, Internal: true, Doc: "Secret before the last change of it: let the brokers finish that change first."},
	{Name: "password.encoder.keyfactory.algorithm", Type: String, Default: unset, Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "How new passwords are encrypted in ZooKeeper: kvorum writes PBKDF2WithHmacSHA512."},
	{Name: "password.encoder.cipher.algorithm", Type: String, Default: is("AES/CBC/PKCS5Padding"), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Cipher of new passwords in ZooKeeper."},
	{Name: "password.encoder.key.length", Type: Int, Default: is("128"), Valid: atLeast(8), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Key length of new passwords in ZooKeeper."},
	{Name: "password.encoder.iterations", Type: Int, Default: is("4096"), Valid: atLeast(1024), Importance: Low, Scopes: ScopeNode, Effect: Accepted, Internal: true, Doc: "Iterations of new passwords in ZooKeeper."},
}
