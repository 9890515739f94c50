// One account's @xmpp/client that remembers stanzas until a journey asks for them.
import { client, xml } from "@xmpp/client";

export { xml };

const SECONDS = 10;

export class Person {
  constructor(place, user, { resource = "js", password = place.password, tls = false } = {}) {
    this.bare = `${user}@${place.domain}`;
    this.domain = place.domain;
    this.seen = [];
    this.waiting = new Set();
    this.xmpp = client({
      service: tls ? place.tls : place.service,
      domain: place.domain,
      username: user,
      password,
      resource,
    });
    this.xmpp.reconnect.delay = 50;
    this.xmpp.streamManagement.requestAckDebounce = 10;
    this.errors = [];
    this.xmpp.on("error", (error) => this.errors.push(error));
    this.xmpp.on("stanza", (stanza) => this.remember(stanza));
    // This client takes roster pushes and asks nothing else: answer what is asked of it.
    this.xmpp.iqCallee.set("jabber:iq:roster", "query", () => true);
    this.xmpp.iqCallee.set("urn:xmpp:blocking", "block", () => true);
    this.xmpp.iqCallee.set("urn:xmpp:blocking", "unblock", () => true);
  }

  get full() {
    return this.xmpp.jid.toString();
  }

  async login() {
    await this.xmpp.start();
    return this;
  }

  async online() {
    await this.login();
    // Who never asks for the contact list is not told how it changes (RFC 6121 §2.1.6, §3.1.6).
    await this.ask("get", xml("query", { xmlns: "jabber:iq:roster" }));
    await this.send(xml("presence"));
    await this.saw("presence", (stanza) => stanza.attrs.from === this.full);
    return this;
  }

  async leave() {
    await this.xmpp.stop();
  }

  // Cut the connection without a word, as a lost network does.
  cut() {
    const { socket } = this.xmpp;
    (socket.socket ?? socket).destroy();
  }

  send(stanza) {
    return this.xmpp.send(stanza);
  }

  say(to, body, ...extra) {
    return this.send(xml("message", { to, type: "chat" }, xml("body", {}, body), ...extra));
  }

  ask(type, payload, to) {
    return this.xmpp.iqCaller.request(xml("iq", { type, to }, payload), SECONDS * 1000);
  }

  // An answer from the server proves that all that was sent before has been handled.
  settle() {
    return this.ask("get", xml("ping", { xmlns: "urn:xmpp:ping" }), this.domain);
  }

  remember(stanza) {
    this.seen.push(stanza);
    for (const look of this.waiting) look();
  }

  has(name, match = () => true) {
    return this.seen.some((stanza) => stanza.is(name) && match(stanza));
  }

  // Take the first stanza that matches, waiting for it when needed.
  saw(name, match = () => true) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const at = this.seen.findIndex((stanza) => stanza.is(name) && match(stanza));
        if (at < 0) return;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve(this.seen.splice(at, 1)[0]);
      };
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        reject(new Error(`no such ${name}; seen: ${this.seen.slice(-8).join(" ")} ${this.errors}`));
      }, SECONDS * 1000);
      this.waiting.add(look);
      look();
    });
  }

  sawMessage(body) {
    return this.saw("message", (stanza) => stanza.getChildText("body") === body);
  }

  sawPresence(type, bare) {
    return this.saw(
      "presence",
      (stanza) => stanza.attrs.type === type && stanza.attrs.from.split("/")[0] === bare,
    );
  }

  // Wait for an event of the library.
  until(emitter, event) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${event}; ${this.errors}`)), SECONDS * 1000);
      emitter.once(event, (data) => {
        clearTimeout(timer);
        resolve(data);
      });
    });
  }
}

export async function befriend(one, other) {
  for (const [asker, giver] of [[one, other], [other, one]]) {
    await asker.send(xml("presence", { to: giver.bare, type: "subscribe" }));
    await giver.sawPresence("subscribe", asker.bare);
    await giver.send(xml("presence", { to: asker.bare, type: "subscribed" }));
    await asker.sawPresence("subscribed", giver.bare);
    await asker.sawPresence(undefined, giver.bare);
  }
}
