package ir

// A Receiver gets notices of a loop or of a monitor. Webhook or Alertmanager is set.
type Receiver struct {
	// Webhook is the URL of a webhook, a secret of the process that sends.
	Webhook *Secret `json:"webhook,omitempty"`
	// PlainHTTP permits a webhook on another machine without TLS.
	PlainHTTP bool `json:"plain_http,omitempty"`
	// Alertmanager is the URL of an Alertmanager, without the path of its API.
	Alertmanager string `json:"alertmanager,omitempty"`
}

// String names a receiver in records and messages. It has no secret, and stays the same as long as the
// receiver is declared in the same way.
func (r Receiver) String() string {
	switch w := r.Webhook; {
	case w == nil:
		return "alertmanager " + r.Alertmanager
	case w.Env != "":
		return "webhook $" + w.Env
	default:
		return "webhook " + w.File
	}
}

// Receivers are those of a loop or of a monitor.
func (u *Unit) Receivers() []Receiver {
	switch {
	case u.Loop != nil:
		return u.Loop.Notify
	case u.Monitor != nil:
		return u.Monitor.Notify
	}
	return nil
}
