// SPDX-License-Identifier: Apache-2.0

// Many agents in one process: `fleet-agents IDENTITIES`, driven by lines of JSON on stdin, answering
// with lines of JSON: for each kind of message that was asked for, the moment at which each agent had
// it, in seconds of CLOCK_MONOTONIC.
//
// Each is a real mTLS stream of its own connection and says what an agent says: the contract of
// proto/cordon/v1/policy.proto. It verifies and compiles nothing, and does not look into what a policy
// contains: what an agent does with one is measured elsewhere. No connection takes up a TLS session of an older one.
//
// In Go, because whatever plays the fleet takes the cores from the controller that it measures, and a
// Python client costs as much as its server.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"os"
	"runtime/debug"
	"sync"
	"time"

	pb "cordon/v1"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	method       = "/cordon.v1.PolicyService/Sync"
	longest      = 65 << 20 // bytes of a message
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = time.Minute
	telling      = 10 * time.Second
	garbage      = 400 // per cent of what is in use, until it is looked for

	policyField  protowire.Number = 5 // of ControllerDown
	contentField protowire.Number = 3 // of PolicyUpdate
	deltaField   protowire.Number = 4
)

// What an agent shows: PEM.
type identity struct {
	Name   string
	Number uint32
	Chain  string
	Key    string
	Roots  string
}

type command struct {
	Do      string
	Until   []string // kinds of messages, by the names of ControllerDown's fields
	Address string
	Seconds float64 // over which the first attempts are spread
}

type agent struct {
	name      string
	number    uint32
	tls       *tls.Config
	policy    *pb.HeldPolicy
	keys      *pb.HeldKeys
	record    uint64
	sequence  uint64
	failed    int // attempts in a row that did not come to be in sync
	spread    time.Duration
	heartbeat time.Duration
	waits     *waits
}

// When each of the agents had what was asked for.
type waits struct {
	sync.Mutex
	of   map[string]map[*agent]float64
	left int
	done chan struct{}
}

// How attempts ended, by what was said.
type endings struct {
	sync.Mutex
	by map[string]int
}

var failures = endings{by: map[string]int{}}

func main() {
	debug.SetGCPercent(garbage)
	rand.Seed(time.Now().UnixNano())
	agents, err := read(os.Args[1])
	if err != nil {
		log.Fatalf("fleet-agents: %s: %v", os.Args[1], err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var told command
		if err := json.Unmarshal(lines.Bytes(), &told); err != nil {
			log.Fatalf("fleet-agents: not a command: %q: %v", lines.Text(), err)
		}
		agents[0].waits.begin(told.Until, len(agents))
		if told.Do == "connect" {
			for _, one := range agents {
				go one.run(told.Address, part(told.Seconds))
			}
		}
		moments := agents[0].waits.end(told)
		if err := json.NewEncoder(os.Stdout).Encode(moments); err != nil {
			log.Fatalf("fleet-agents: %v", err)
		}
	}
}

func read(path string) ([]*agent, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var identities []identity
	if err := json.Unmarshal(text, &identities); err != nil {
		return nil, err
	}
	shared, roots := &waits{}, map[string]*x509.CertPool{}
	agents := make([]*agent, len(identities))
	for i, one := range identities {
		certificate, err := tls.X509KeyPair([]byte(one.Chain), []byte(one.Key))
		if err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", one.Name, err)
		}
		pool := roots[one.Roots]
		if pool == nil {
			pool = x509.NewCertPool()
			if !pool.AppendCertsFromPEM([]byte(one.Roots)) {
				return nil, fmt.Errorf("%s has no root certificates", one.Name)
			}
			roots[one.Roots] = pool
		}
		agents[i] = &agent{
			name:      one.Name,
			number:    one.Number,
			tls:       &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: pool},
			keys:      &pb.HeldKeys{},
			heartbeat: 15 * time.Second,
			waits:     shared,
		}
	}
	return agents, nil
}

// Comes back by itself, with jittered backoff, as the contract says.
func (a *agent) run(address string, start time.Duration) {
	time.Sleep(start)
	for {
		least, err := a.stream(address)
		if err != nil {
			failures.count(err)
		}
		most := lastBackoff
		if doubled := longer(firstBackoff<<a.failed, a.spread); a.failed < 10 && doubled < most {
			most = doubled
		}
		a.failed++
		time.Sleep(least + part(longer(most, least).Seconds()))
	}
}

// One connection. How long to wait at least before the next.
func (a *agent) stream(address string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	patience := backoff.DefaultConfig
	patience.BaseDelay = 100 * time.Millisecond
	connection, err := grpc.DialContext(ctx, address,
		grpc.WithTransportCredentials(credentials.NewTLS(a.tls)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: patience, MinConnectTimeout: 20 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(longest), grpc.ForceCodec(codec{})),
		grpc.WithReadBufferSize(4096),
		grpc.WithWriteBufferSize(4096),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(ctx, both, method)
	if err != nil {
		return 0, err
	}
	saying := &sync.Mutex{} // one message of a stream at a time
	say := func(up *pb.AgentUp) error {
		saying.Lock()
		defer saying.Unlock()
		return stream.SendMsg(up)
	}
	if err := say(&pb.AgentUp{Message: &pb.AgentUp_Hello{Hello: a.hello()}}); err != nil && err != io.EOF {
		return 0, err // after io.EOF the reason is what RecvMsg says
	}
	welcomed := make(chan time.Duration, 1)
	go a.beat(ctx, welcomed, say)
	for {
		down := &pb.ControllerDown{}
		if err := stream.RecvMsg(down); errors.Is(err, io.EOF) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		ack, err := a.hear(down, welcomed)
		if err != nil {
			return 0, err
		}
		if ack != nil {
			if err := say(&pb.AgentUp{Message: &pb.AgentUp_Ack{Ack: ack}}); err != nil && err != io.EOF {
				return 0, err
			}
		}
		a.waits.had(a, down)
		if away := down.GetGoingAway(); away != nil {
			return time.Duration(away.RetryAfterMs) * time.Millisecond, nil
		}
	}
}

func (a *agent) hello() *pb.Hello {
	return &pb.Hello{
		Protocol:         1,
		Host:             a.number,
		HostName:         a.name,
		InstanceId:       []byte(fmt.Sprintf("%-16.16s", a.name)),
		AgentVersion:     "bench",
		HostRecordSerial: a.record,
		Keys:             a.keys,
		Policy:           a.policy,
		PolicyKeysSerial: 1,
	}
}

// Heartbeats, from the moment on that it was told how often; with the first one a report.
func (a *agent) beat(ctx context.Context, welcomed <-chan time.Duration, say func(*pb.AgentUp) error) {
	var every time.Duration
	select {
	case every = <-welcomed:
	case <-ctx.Done():
		return
	}
	for first := true; ; {
		pause := time.NewTimer(time.Duration(float64(every) * (0.8 + 0.4*rand.Float64())))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		a.sequence++
		beat := &pb.Heartbeat{Sequence: a.sequence}
		if say(&pb.AgentUp{Message: &pb.AgentUp_Heartbeat{Heartbeat: beat}}) != nil {
			return // the reader is told why
		}
		if first && say(&pb.AgentUp{Message: &pb.AgentUp_Report{Report: report()}}) != nil {
			return
		}
		first = false
	}
}

// Of a host on which all is well, and nothing changes.
func report() *pb.Report {
	return &pb.Report{
		State:      "in_sync",
		Identities: []*pb.RunningIdentity{{Identity: 1, Processes: 120}, {Identity: 256, Processes: 8}},
		Health:     &pb.Health{HooksAttached: 20, HooksExpected: 20, MapPressure: 12, ClockOffsetMs: 3},
		Kernel:     "6.18.0",
	}
}

// Take it over. What is to be answered, if anything.
func (a *agent) hear(down *pb.ControllerDown, welcomed chan<- time.Duration) (*pb.Ack, error) {
	switch message := down.Message.(type) {
	case *pb.ControllerDown_Welcome:
		a.spread = time.Duration(message.Welcome.SpreadMs) * time.Millisecond
		welcomed <- time.Duration(message.Welcome.HeartbeatSeconds) * time.Second
	case *pb.ControllerDown_InSync:
		a.failed = 0
	case *pb.ControllerDown_HostRecord:
		record := &pb.HostRecord{}
		if err := proto.Unmarshal(message.HostRecord.Record.Payload, record); err != nil {
			return nil, err
		}
		a.record = record.Serial
		return &pb.Ack{Nonce: message.HostRecord.Nonce}, nil
	case *pb.ControllerDown_Keys:
		keys := &pb.HostKeys{}
		if err := proto.Unmarshal(message.Keys.Keys.Payload, keys); err != nil {
			return nil, err
		}
		last := a.keys.LastEpoch
		for _, key := range keys.ReceiveSecrets {
			if key.Epoch > last {
				last = key.Epoch
			}
		}
		a.keys = &pb.HeldKeys{Serial: keys.Serial, LastEpoch: last}
		return &pb.Ack{Nonce: message.Keys.Nonce}, nil
	case *pb.ControllerDown_Policy:
		release := &pb.Release{}
		if err := proto.Unmarshal(message.Policy.Release.Payload, release); err != nil {
			return nil, err
		}
		a.policy = &pb.HeldPolicy{
			StoreEpoch:    release.StoreEpoch,
			Version:       release.Version,
			ContentDigest: release.ContentDigest,
			Expires:       release.Expires,
		}
		return &pb.Ack{Nonce: message.Policy.Nonce, Version: release.Version}, nil
	}
	return nil, nil
}

// Messages as bytes, and back without the contents of policies.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message interface{}) error {
	var light []byte
	for len(data) > 0 {
		number, field, value, err := next(data)
		if err != nil {
			return err
		}
		if number == policyField {
			if light, err = withoutContent(light, value); err != nil {
				return err
			}
		} else {
			light = append(light, data[:field]...)
		}
		data = data[field:]
	}
	return proto.Unmarshal(light, message.(proto.Message))
}

// Append the field with a PolicyUpdate that has everything but its body.
func withoutContent(light, update []byte) ([]byte, error) {
	var kept []byte
	for len(update) > 0 {
		number, field, _, err := next(update)
		if err != nil {
			return nil, err
		}
		if number != contentField && number != deltaField {
			kept = append(kept, update[:field]...)
		}
		update = update[field:]
	}
	return protowire.AppendBytes(protowire.AppendTag(light, policyField, protowire.BytesType), kept), nil
}

// The first field of a message: its number, its length as a whole and, if it is one of bytes, those.
func next(data []byte) (protowire.Number, int, []byte, error) {
	number, kind, length := protowire.ConsumeField(data)
	if length < 0 {
		return 0, 0, nil, protowire.ParseError(length)
	}
	if kind != protowire.BytesType {
		return number, length, nil, nil
	}
	_, _, tag := protowire.ConsumeTag(data)
	value, _ := protowire.ConsumeBytes(data[tag:])
	return number, length, value, nil
}

func (w *waits) begin(kinds []string, agents int) {
	w.Lock()
	defer w.Unlock()
	w.of, w.left, w.done = map[string]map[*agent]float64{}, len(kinds)*agents, make(chan struct{})
	for _, kind := range kinds {
		w.of[kind] = make(map[*agent]float64, agents)
	}
}

// The agent has had this message, and answered it.
func (w *waits) had(who *agent, down *pb.ControllerDown) {
	reflected := down.ProtoReflect()
	field := reflected.WhichOneof(reflected.Descriptor().Oneofs().ByName("message"))
	if field == nil {
		return
	}
	w.Lock()
	defer w.Unlock()
	moments, asked := w.of[string(field.Name())]
	if _, before := moments[who]; !asked || before {
		return
	}
	moments[who] = now()
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// For each kind that was asked for, in that order, the moments.
func (w *waits) end(told command) [][]float64 {
	for waiting := true; waiting; {
		select {
		case <-w.done:
			waiting = false
		case <-time.After(telling):
			w.tell(told.Do)
		}
	}
	w.Lock()
	defer w.Unlock()
	all := [][]float64{}
	for _, kind := range told.Until {
		moments := []float64{}
		for _, moment := range w.of[kind] {
			moments = append(moments, moment)
		}
		all = append(all, moments)
	}
	w.of = nil
	return all
}

// For who waits.
func (w *waits) tell(what string) {
	w.Lock()
	defer w.Unlock()
	failures.Lock()
	defer failures.Unlock()
	log.Printf("%s: %d answers to come; %v", what, w.left, failures.by)
}

func (f *endings) count(err error) {
	f.Lock()
	defer f.Unlock()
	f.by[fmt.Sprintf("%.60s", status.Convert(err).Message())]++
}

func longer(one, other time.Duration) time.Duration {
	if one > other {
		return one
	}
	return other
}

// Any part of so many seconds.
func part(seconds float64) time.Duration {
	return time.Duration(seconds * rand.Float64() * float64(time.Second))
}

func now() float64 {
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		log.Fatalf("fleet-agents: no monotonic clock: %v", err)
	}
	return float64(clock.Nano()) / 1e9
}
