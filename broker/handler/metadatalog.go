package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/peerlog"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol/errors"
)

// MetadataLog is this broker's copy of the metadata log (metadatalog.Store).
type MetadataLog = peerlog.Log

// fetchOrMetadata is fetch on the listener of the brokers, where one of them that
// reaches no controller may ask for the metadata log as it would ask a controller.
// Apache's brokers answer UNKNOWN_TOPIC_ID there, as this one does where it gives
// nothing.
func (h *Handlers) fetchOrMetadata(ctx context.Context, c *call) (listener.Response, error) {
	req := c.Body.(*kmsg.FetchRequest)
	if req.Version < 13 || len(req.Topics) != 1 || kafka.TopicID(req.Topics[0].TopicID) != kafka.MetadataTopicID {
		return h.fetch(ctx, c)
	}
	c.Exempt()
	return listener.Reply(h.fetchMetadata(c, req)), nil
}

// fetchMetadata answers at once, by the rules of peerlog.
func (h *Handlers) fetchMetadata(c *call, req *kmsg.FetchRequest) kmsg.Response {
	if !c.mayCluster(kmsg.ACLOperationClusterAction) {
		res := req.ResponseKind().(*kmsg.FetchResponse)
		peerlog.Refuse(res, errors.ClusterAuthorizationFailed)
		return res
	}
	res, err := peerlog.Give(h.cfg.MetadataLog, h.cfg.ClusterID, req)
	if err != nil {
		h.cfg.Log.Error("a broker's question for the metadata log", "error", err)
	}
	return res
}
