// The one stream of events that all tabs of this browser share: a browser opens six connections to a server, and
// a stream holds one of them for good.
const NAMES = ['queue', 'step', 'preview', 'done', 'hint'];
const ports = new Set();
let source = null;
let address = '';
let last = '';
let wait = 1000;
let timer = 0;

function tell(message) {
  for (const port of ports) {
    port.postMessage(message);
  }
}

function open() {
  source = new EventSource(last ? address + '?last_event_id=' + last : address);
  source.onopen = () => {
    wait = 1000;
    tell({link: 'open'});
  };
  source.onerror = () => {
    tell({link: 'lost'});
    source.close();
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 1.6, 8000);
  };
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      last = event.lastEventId || last;
      tell({name, data: JSON.parse(event.data)});
    });
  }
}

function join(port) {
  port.onmessage = ({data}) => {
    if (data.bye) {
      ports.delete(port);
      return;
    }
    if (data.wake) { // a stream may have died without a word while the machine slept
      source?.close();
      clearTimeout(timer);
      open();
      return;
    }
    ports.add(port);
    if (!source) {
      address = data.address;
      open();
    } else if (source.readyState === EventSource.OPEN) {
      port.postMessage({link: 'open'});
    }
  };
}

self.onconnect = ({ports: [port]}) => join(port);
