package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

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
		return listener.Reply(c.refuseToken()), nil
	}
	return h.forward(ctx, c)
}

// refuseToken says who asked, and -1 for all times.
func (c *call) refuseToken() kmsg.Response {
	answer := protocol.Failure(c.Request.Request, errors.DelegationTokenRequestNotAllowed.Err())
	switch a := answer.(type) {
	case *kmsg.CreateDelegationTokenResponse:
		a.PrincipalType, a.PrincipalName = c.Principal.Type, c.Principal.Name
		a.TokenRequesterPrincipalType, a.TokenRequesterPrincipalName = c.Principal.Type, c.Principal.Name
		a.IssueTimestamp, a.ExpiryTimestamp, a.MaxTimestamp = -1, -1, -1
	case *kmsg.RenewDelegationTokenResponse:
		a.ExpiryTimestamp = -1
	case *kmsg.ExpireDelegationTokenResponse:
		a.ExpiryTimestamp = -1
	}
	return answer
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
