# ActiveRecord, over mysql2, one thing for each line of the input: how each is written, ../README.md

require 'active_record'

class Photo < ActiveRecord::Base
  has_many :comments
end

class Comment < ActiveRecord::Base
  belongs_to :photo
end

def connect(prepares: false, tls: false)
  ActiveRecord::Base.remove_connection if ActiveRecord::Base.connected?
  ActiveRecord::Base.establish_connection(
    adapter: 'mysql2', host: ENV.fetch('DB_HOST'), port: ENV.fetch('DB_PORT').to_i,
    username: ENV.fetch('DB_USER'), password: ENV.fetch('DB_PASSWORD'), database: ENV.fetch('DB_SCHEMA'),
    encoding: 'utf8mb4', pool: 1, prepared_statements: prepares,
    sslca: (ENV.fetch('DB_CA') if tls)
  )
  ActiveRecord::Base.connection.execute('SELECT 1')
  # It asks once what each table is like.
  [Photo, Comment].each { |model| [model.primary_key, model.new] }
end

def nested
  Photo.transaction do
    photo = Photo.create!(title: 'first snow')
    Comment.transaction(requires_new: true) { photo.comments.create!(text: 'how white') }
  end
end

def nested_save
  Photo.transaction do
    Comment.transaction(requires_new: true) { Comment.create!(text: 'how white') }
  end
end

def rolled_back
  Photo.transaction do
    Photo.create!(title: 'blurred')
    raise ActiveRecord::Rollback
  end
end

$stdin.each_line do |line|
  case (what = line.strip)
  when 'connect' then connect
  when 'connect with TLS' then connect(tls: true)
  when 'connect, prepared statements' then connect(prepares: true)
  when 'disconnect' then ActiveRecord::Base.remove_connection
  when 'ping' then ActiveRecord::Base.connection.active?
  when 'find' then Photo.find_by(title: 'first snow')
  when 'create' then Photo.create!(title: 'a cat')
  when 'update' then Photo.where(title: 'a cat').first.update!(title: 'the cat')
  when 'nested' then nested
  when 'nested save' then nested_save
  when 'rolled back' then rolled_back
  when 'empty' then Photo.transaction {}
  else ActiveRecord::Base.connection.execute(what)
  end
  puts 'done'
  $stdout.flush
end
