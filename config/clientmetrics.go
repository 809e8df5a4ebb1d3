package config

import (
	"errors"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// The range of interval.ms (ClientMetricsConfigs).
const (
	minIntervalMs = 100
	maxIntervalMs = 3_600_000
)

// matchParams are what a client can be selected by.
var matchParams = []string{
	"client_instance_id", "client_id", "client_software_name",
	"client_software_version", "client_source_address", "client_source_port",
}

// ValidateClientMetrics checks the configs that the subscription called name
// would have (ClientMetricsConfigs.validate).
func ValidateClientMetrics(name string, proposed map[string]string) error {
	if name == "" {
		return &Error{Kind: InvalidRequest, Text: "Subscription name can't be empty"}
	}
	for _, key := range slices.Sorted(maps.Keys(proposed)) {
		if clientMetricsIndex[key] == nil {
			return &Error{Kind: InvalidRequest, Text: "Unknown client metrics configuration: " + key}
		}
	}
	for i := range clientMetricsKeys {
		k := &clientMetricsKeys[i]
		text, ok := proposed[k.Name]
		if !ok {
			continue
		}
		v, err := k.Parse(text)
		if err != nil {
			return err
		}
		if k.Name == "interval.ms" && (v.Int < minIntervalMs || v.Int > maxIntervalMs) {
			return &Error{Kind: InvalidRequest, Text: "Invalid value " + v.String() +
				" for interval.ms, interval must be between 100 and 3600000 (1 hour)"}
		}
		if k.Name == "match" {
			if err := checkMatch(v.List); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkMatch(patterns []string) error {
	for _, pattern := range patterns {
		parts := strings.Split(pattern, "=")
		for len(parts) > 0 && parts[len(parts)-1] == "" { // as Java splits
			parts = parts[:len(parts)-1]
		}
		if len(parts) != 2 || !slices.Contains(matchParams, strings.TrimFunc(parts[0], javaSpace)) ||
			!validPattern(strings.TrimFunc(parts[1], javaSpace)) {
			return invalid("Illegal client matching pattern: %s", pattern)
		}
	}
	return nil
}

// notRepetition is where a brace is no repetition: escapes and classes.
var notRepetition = regexp.MustCompile(`(?s)\\Q.*?(?:\\E|$)|\\[pPxN]\{[^}]*\}|\\k<[^>]*>|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[0-9]+(?:,[0-9]*)?\}`)

// validPattern reports whether a broker, which uses Java's regular
// expressions, can take s. What Go cannot compile only because Java knows more
// (look-around, back references, possessive repetition, large counts) is let
// through.
func validPattern(s string) bool {
	if strings.ContainsRune(notRepetition.ReplaceAllString(s, ""), '{') {
		return false // Go takes it for itself, Java refuses it
	}
	_, err := regexp.Compile(s)
	var bad *syntax.Error
	if !errors.As(err, &bad) {
		return err == nil
	}
	switch bad.Code {
	case syntax.ErrInvalidPerlOp, syntax.ErrInvalidEscape, syntax.ErrInvalidRepeatSize:
		return true
	case syntax.ErrInvalidRepeatOp:
		return strings.HasSuffix(bad.Expr, "+")
	default:
		return false
	}
}
