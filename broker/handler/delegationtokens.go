package handler

import (
	"context"

	"kvorum/listener"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// CreateDelegationToken (key 38, versions 1 to 3), RenewDelegationToken (39, 1 to
// 2), ExpireDelegationToken (40, 1 to 2) and DescribeDelegationToken (41, 1 to 3;
// KIP-48, KafkaApis.allowTokenRequests).
//
// Only who has logged in, and not with a token, may ask for tokens; all others
// are told DELEGATION_TOKEN_REQUEST_NOT_ALLOWED. Those who may are answered by the
// active controller, except for descriptions: without a listener that logs
// clients in nobody can have a token.
func (h *Handlers) tokenRequest(ctx context.Context, c *call) (listener.Response, error) {
	if !c.mayUseTokens() {
		return listener.Reply(protocol.Failure(c.Request.Request, errors.DelegationTokenRequestNotAllowed.Err())), nil
	}
	return h.forward(ctx, c)
}

func (h *Handlers) describeTokens(_ context.Context, c *call) (listener.Response, error) {
	code := errors.DelegationTokenAuthDisabled
	if !c.mayUseTokens() {
		code = errors.DelegationTokenRequestNotAllowed
	}
	return listener.Reply(protocol.Failure(c.Request.Request, code.Err())), nil
}

func (c *call) mayUseTokens() bool {
	return !c.Principal.TokenAuthenticated && c.Principal != protocol.Anonymous
}
