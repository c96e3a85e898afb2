package edge

import (
	"net/http"
	"slices"
)

// CORS says which pages of a browser may ask. None may without it.
type CORS struct {
	Origins []string `json:"origins"` // such as "https://shop.example"; "*" stands for all
}

const (
	corsMethods = "GET, POST"
	corsHeaders = "authorization, content-type, request-timeout, traceparent, x-api-key, x-request-id"
	corsExposed = "ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, tenon-version, x-request-id"
	corsAge     = "600" // seconds
)

// Cross lets pages of other origins read the answer, by its headers. It returns true for what a
// browser asks before, which has an answer without a body and needs no caller.
func (e *Edge) Cross(h http.Header, r *http.Request) (preflight bool) {
	if e == nil || e.cors == nil {
		return false
	}
	every := slices.Contains(e.cors.Origins, "*")
	if !every {
		h.Add("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	if origin == "" || !every && !slices.Contains(e.cors.Origins, origin) {
		return false
	}
	if every {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", corsExposed)
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", corsAge)
	return true
}
