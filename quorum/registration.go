package quorum

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// minRegistrationVersion is the first metadata.version at which controllers
// register (KIP-919).
const minRegistrationVersion = image.MV37IV0

// registration is what this controller registers as.
func (c *Config) registration() *kmsg.ControllerRegistrationRequest {
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID = int32(c.Self)
	req.IncarnationID = c.Incarnation
	req.ZkMigrationReady = c.Settings.ZooKeeperMigration
	for _, e := range c.Endpoints {
		l := kmsg.NewControllerRegistrationRequestListener()
		l.Name, l.Host, l.Port, l.SecurityProtocol = e.Name, e.Host, e.Port, e.SecurityProtocol
		req.Listeners = append(req.Listeners, l)
	}
	for _, f := range c.Settings.ControllerFeatures {
		k := kmsg.NewControllerRegistrationRequestFeature()
		k.Name, k.MinSupportedVersion, k.MaxSupportedVersion = f.Name, f.MinSupportedVersion, f.MaxSupportedVersion
		req.Features = append(req.Features, k)
	}
	return req
}

// voterEndpoints are this controller's listeners as the voter set has them.
func (c *Config) voterEndpoints() []record.VoterEndpoint {
	out := make([]record.VoterEndpoint, len(c.Endpoints))
	for i, e := range c.Endpoints {
		out[i] = record.VoterEndpoint{Name: e.Name, Host: e.Host, Port: e.Port}
	}
	return out
}
