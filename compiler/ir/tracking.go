package ir

// Tracking is an MLflow server that gets runs.
type Tracking struct {
	URI        string `json:"uri"` // without credentials
	Experiment string `json:"experiment"`
	// Token is a reference, or nil: then the credentials are those of the environment of tenon, if it has some.
	Token *Secret `json:"token,omitempty"`
	// PlainHTTP permits sending credentials to another machine without TLS.
	PlainHTTP bool `json:"plain_http,omitempty"`
}
