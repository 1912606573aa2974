/** OHIF's files as published, served as a hospital would: on an origin of its own, cross-origin isolated, with one archive: the gateway. */
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import type { Scene } from './suite.ts';

export interface Viewer {
  readonly origin: string;
  /** Names the gateway whose archive is shown from then on. */
  showArchive(base: string): void;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.json': 'application/json',
  '.woff2': 'font/woff2',
};

/** The folder is that of OHIF's build; the archive is named once it is known. */
export async function serveViewer(scene: Scene, folder: string): Promise<Viewer> {
  let archive = '';
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? '/', 'http://viewer').pathname);
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
    if (path === '/app-config.js') {
      response.setHeader('Content-Type', 'text/javascript');
      response.end(`window.config = ${JSON.stringify(viewerConfig(archive))};`);
      return;
    }
    const wanted = join(folder, path);
    // Paths of the application itself are all its one page.
    const file = existsSync(wanted) && statSync(wanted).isFile() ? wanted : join(folder, 'index.html');
    response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scene.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    showArchive: (base) => (archive = `${base}/dicom-web`),
  };
}

function viewerConfig(archive: string): object {
  return {
    routerBasename: '/',
    extensions: [],
    modes: [],
    customizationService: {},
    showStudyList: true,
    maxNumberOfWebWorkers: 2,
    showWarningMessageForCrossOrigin: true,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    defaultDataSourceName: 'isthmus',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'isthmus',
        configuration: {
          friendlyName: 'Isthmus',
          name: 'isthmus',
          wadoUriRoot: archive,
          qidoRoot: archive,
          wadoRoot: archive,
          qidoSupportsIncludeField: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          singlepart: 'bulkdata,video',
          bulkDataURI: { enabled: true },
          omitQuotationForMultipartRequest: true,
        },
      },
    ],
  };
}
